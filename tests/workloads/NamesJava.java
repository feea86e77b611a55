/** As names_c.c, for the JVM's perf map (`jcmd PID Compiler.perfmap`): prints "ready" once it is compiled. */
public class NamesJava {
    static long sink;

    static long spinInner(long n) {
        long sum = 0;
        for (long i = 0; i < n; i++) sum ^= i * 31;
        return sum;
    }

    long add(long n) {
        return spinInner(n) + 1;
    }

    static long spinOuter(NamesJava basket) {
        return basket.add(100000) + 1;
    }

    public static void main(String[] args) {
        NamesJava basket = new NamesJava();
        for (int i = 0; i < 500; i++) sink += spinOuter(basket);
        System.out.println("ready");
        System.out.flush();
        long end = System.nanoTime() + 1_000_000_000L * (args.length > 0 ? Integer.parseInt(args[0]) : 1);
        while (System.nanoTime() < end) sink += spinOuter(basket);
    }
}
