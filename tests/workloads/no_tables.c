/* A library whose only function cannot be walked through: built without tables and frame pointers. */
int call_back(int (*function)(void))
{
	volatile int pad[13];
	pad[0] = function();
	return pad[0];
}
