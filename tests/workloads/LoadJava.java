import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToIntFunction;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** A program as programs are: collections, streams, lambdas, text, garbage, four threads. Prints "ready" at once. */
public class LoadJava {
    record Item(String name, int price, List<String> tags) {}

    interface Discount {
        int of(Item item);
    }

    private static final Pattern WORD = Pattern.compile("([a-z]+)-(\\d+)");
    static volatile int sink;

    public static void main(String[] args) throws InterruptedException {
        System.out.println("ready");
        System.out.flush();
        long end = System.nanoTime() + 1_000_000_000L * (args.length > 0 ? Integer.parseInt(args[0]) : 1);
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < 4; number++) {
            int seed = number;
            threads.add(new Thread(() -> work(seed, end), "load-" + number));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
    }

    static void work(int seed, long end) {
        for (int round = 0; System.nanoTime() < end; round++) {
            List<Item> items = items(seed + round);
            sink += total(items, round % 2 == 0 ? item -> item.price() / 10 : item -> item.tags().size());
            sink += report(items).length();
            sink += matches(items);
        }
    }

    static List<Item> items(int seed) {
        return IntStream.range(0, 500)
            .mapToObj(i -> new Item("item-" + (seed * 31 + i), i * 7 % 100, List.of("a" + i % 5, "b" + i % 3)))
            .collect(Collectors.toList());
    }

    static int total(List<Item> items, Discount discount) {
        Map<String, Integer> sums = new HashMap<>();
        for (Item item : items) {
            for (String tag : item.tags()) sums.merge(tag, item.price() - discount.of(item), Integer::sum);
        }
        ToIntFunction<Integer> plain = Integer::intValue;
        return sums.values().stream().mapToInt(plain).sum();
    }

    static String report(List<Item> items) {
        Map<String, List<Item>> sorted = items.stream()
            .sorted((a, b) -> Integer.compare(b.price(), a.price()))
            .collect(Collectors.groupingBy(item -> item.tags().get(0), TreeMap::new, Collectors.toList()));
        StringBuilder text = new StringBuilder();
        sorted.forEach((tag, some) -> text.append(String.format(Locale.ROOT, "%s: %d%n", tag, some.size())));
        return text.toString();
    }

    static int matches(List<Item> items) {
        int found = 0;
        for (Item item : items) {
            var matcher = WORD.matcher(item.name());
            if (matcher.matches()) found += Integer.parseInt(matcher.group(2)) % 2;
        }
        return found;
    }
}
