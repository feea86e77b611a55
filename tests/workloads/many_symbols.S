// 100,000 functions that nobody calls: their table is more than an agent with little memory for symbols keeps.
	.macro one
	.type	unused_\@, @function
unused_\@:
	nop
	.size	unused_\@, 1
	.endm
	.text
	.rept	100000
	one
	.endr
	.section .note.GNU-stack, "", @progbits
