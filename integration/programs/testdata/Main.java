// SPDX-License-Identifier: Apache-2.0
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Compiled code, a thread pool, the garbage collector, a fault that becomes an exception. */
public class Main {
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> parts = new ArrayList<>();
        for (int i = 0; i < 32; i++) {
            final int k = i;
            parts.add(pool.submit(() -> {
                long s = 0;
                for (int j = 0; j < 100000; j++) s += Integer.toString(j * k).hashCode();
                return s;
            }));
        }
        long total = 0;
        for (Future<Long> part : parts) total += part.get();
        pool.shutdown();
        int caught = 0;
        for (int i = 0; i < 100000; i++) {
            Object o = i % 100 == 0 ? null : "";
            try {
                total += o.hashCode();
            } catch (NullPointerException e) {
                caught++;
            }
        }
        System.gc();
        System.out.println("total " + total + " caught " + caught);
    }
}
