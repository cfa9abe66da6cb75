// Kafka Streams' way to drop duplicates, to be measured beside a node: a window store
// with its log of changes, read before each record is passed on, exactly once.
//
// java -cp 'JARS/*' StreamsDedup.java BROKERS INPUT OUTPUT APPLICATION STATE_DIR
//
// It prints "running RECORDS_RESTORED MILLISECONDS" when it begins to read, "first AT" and
// ends when its standard input does.

import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;
import org.apache.kafka.streams.state.WindowStoreIterator;

public class StreamsDedup {
  static final Duration WINDOW = Duration.ofDays(1);
  static final String STORE = "seen";
  static final byte[] MARK = {1};
  static final AtomicBoolean begun = new AtomicBoolean();

  static class Dedup implements Processor<byte[], byte[], byte[], byte[]> {
    private ProcessorContext<byte[], byte[]> context;
    private WindowStore<byte[], byte[]> seen;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
      this.context = context;
      this.seen = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      if (begun.compareAndSet(false, true)) {
        System.out.println("first " + System.currentTimeMillis());
      }
      long at = record.timestamp();
      try (WindowStoreIterator<byte[]> found = seen.fetch(record.key(), at - WINDOW.toMillis(), at + WINDOW.toMillis())) {
        if (found.hasNext()) {
          return;
        }
      }
      seen.put(record.key(), MARK, at);
      context.forward(record);
    }
  }

  public static void main(String[] args) throws Exception {
    Properties p = new Properties();
    p.putAll(Map.of(
        "bootstrap.servers", args[0],
        "application.id", args[3],
        "state.dir", args[4],
        "processing.guarantee", "exactly_once_v2",
        "num.stream.threads", "2",
        "replication.factor", "1",
        "auto.offset.reset", "earliest",
        "consumer.max.poll.records", "10000",
        "consumer.session.timeout.ms", "6000", // a second start waits so long for the first
        "consumer.fetch.max.wait.ms", "200"));
    StreamsBuilder b = new StreamsBuilder();
    b.addStateStore(Stores.windowStoreBuilder(
        Stores.persistentWindowStore(STORE, WINDOW, WINDOW, false), Serdes.ByteArray(), Serdes.ByteArray()));
    b.stream(args[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .process(Dedup::new, STORE)
        .to(args[2], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
    KafkaStreams streams = new KafkaStreams(b.build(), p);
    AtomicLong restored = new AtomicLong(), from = new AtomicLong(), to = new AtomicLong();
    streams.setGlobalStateRestoreListener(new StateRestoreListener() {
      @Override
      public void onRestoreStart(TopicPartition at, String store, long first, long last) {
        from.compareAndSet(0, System.currentTimeMillis());
      }

      @Override
      public void onBatchRestored(TopicPartition at, String store, long last, long n) {}

      @Override
      public void onRestoreEnd(TopicPartition at, String store, long total) {
        restored.addAndGet(total);
        to.set(System.currentTimeMillis());
      }
    });
    AtomicBoolean told = new AtomicBoolean();
    streams.setStateListener((state, before) -> {
      if (state == KafkaStreams.State.RUNNING && told.compareAndSet(false, true)) {
        System.out.println("running " + restored + " " + (to.get() - from.get()));
      }
    });
    streams.start();
    while (System.in.read() >= 0) {
    }
    System.exit(streams.close(Duration.ofSeconds(60)) ? 0 : 1);
  }
}
