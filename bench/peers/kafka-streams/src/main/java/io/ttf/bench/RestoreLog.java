package io.ttf.bench;

import java.util.HashSet;
import java.util.Set;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Says how much was restored in what time, all stores of a start together. */
final class RestoreLog implements StateRestoreListener {
    private final Set<TopicPartition> open = new HashSet<>();
    private long began;
    private long records;

    @Override
    public synchronized void onRestoreStart(TopicPartition partition, String store, long from, long to) {
        if (began == 0) {
            began = System.nanoTime();
        }
        open.add(partition);
    }

    @Override
    public synchronized void onBatchRestored(TopicPartition partition, String store, long end, long count) {
        records += count;
    }

    @Override
    public synchronized void onRestoreEnd(TopicPartition partition, String store, long total) {
        open.remove(partition);
        if (open.isEmpty() && records > 0) {
            System.out.printf("restored %d records in %d ms%n", records, (System.nanoTime() - began) / 1_000_000);
        }
    }
}
