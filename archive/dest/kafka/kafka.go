// Package kafka sends results to a topic of a Kafka cluster.
//
// A result is delivered when all replicas in sync have it (acks=all); the producer
// is idempotent, so that its own repetitions leave no second copy. It arrives at
// least once; repeats have the same header result-id, which is the result's ID.
// Some are on their way at once, so that messages are not in order. They have no
// key, and are not compressed, so that any consumer can read them.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"owl/archive"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	parallel       = 16 // results that are on their way at once
	defaultClient  = "ps-kafka-archiver"
	defaultRetries = 3
	maxRetries     = 1000
	// limit bounds a delivery.
	limit = 30 * time.Second
	// metadataAge is how soon the cluster is asked again what topics it has, and
	// who leads them.
	metadataAge = time.Second
	shortest    = 100 * time.Millisecond // before another try of the client's own
	maxRead     = 4 << 20                // octets of an answer
	// maxMessage is more than what a cluster takes that is not told to.
	maxMessage = 16 << 20
	header     = "result-id"
)

// topicName is what Kafka takes.
var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// A destination is a topic.
type destination struct {
	client *kgo.Client
	doors  *doors
	topic  string
	// alone is held for writing by who sends a message in a batch of its own.
	alone sync.RWMutex
}

// Open reads the data of the archiver kafka, schemas 1 and 2, and notes in o what
// is wrong with them. Beside what pScheduler has, there may be the protocols
// SASL_PLAINTEXT and SASL_SSL, with sasl-mechanism, sasl-username and
// _sasl-password.
func Open(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	schema := o.Schema(2)
	o.Need("topic")
	topic := o.String("topic")
	if o.Has("topic") && !topicName.MatchString(topic) {
		o.Fail("topic", "want at most 249 letters, digits, dots, _ and -")
	}
	seeds := readSeeds(o)
	client, retries := defaultClient, int64(defaultRetries)
	if o.Since(schema, 2, "archiver-id") {
		client = o.String("archiver-id")
	}
	if o.Since(schema, 2, "kafka-retries") {
		retries = o.Int("kafka-retries", 0, maxRetries, defaultRetries)
	}
	d := &doors{}
	login := d.read(o, schema)
	opened := archive.Opened{Parallel: parallel}
	if o.Since(schema, 2, "retry-policy") {
		opened.Retry = retry.Read(o, false)
	}
	if o.Err() == nil { // else there is nothing to make it of
		c, err := newClient(seeds, client, int(retries), d.dial, login)
		if err != nil {
			return archive.Opened{}, fmt.Errorf("/data: %w", err)
		}
		opened.Destination = &destination{client: c, doors: d, topic: topic}
	}
	return opened, nil
}

// newClient returns a client that has not connected yet.
func newClient(seeds []string, name string, retries int, dial func(context.Context, string, string) (net.Conn, error), login sasl.Mechanism) (*kgo.Client, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.ClientID(name),
		kgo.Dialer(dial),
		kgo.DisableClientMetrics(),
		kgo.BrokerMaxReadBytes(maxRead),
		kgo.FetchMaxBytes(maxRead), // nothing is fetched, but it may not be more
		kgo.MetadataMinAge(metadataAge),
		kgo.RetryBackoffFn(backoff),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(maxMessage),
		kgo.ProducerLinger(0),
		kgo.RecordRetries(retries),
		kgo.UnknownTopicRetries(retries),
		// A delivery that is given up is tried again, so that it is better to
		// have a message twice than to wait for it for ever.
		kgo.AllowIdempotentProduceCancellation(),
		// Brokers may create topics; most do, as they are delivered.
		kgo.AllowAutoTopicCreation(),
	}
	if login != nil {
		options = append(options, kgo.SASL(login))
	}
	return kgo.NewClient(options...)
}

// backoff returns how long to wait before something is tried for the n-th time
// again: not as long as a cluster that is back could be missed for.
func backoff(n int) time.Duration {
	return min(shortest<<min(max(n, 0), 10), metadataAge)
}

// readSeeds reads which brokers are asked first: a list with commas.
func readSeeds(o *member.Object) []string {
	const name, alias = "server", "server-address"
	given := name
	switch {
	case o.Has(name) && o.Has(alias):
		o.Fail(alias, "want either it or %s", name)
	case o.Has(alias):
		given = alias
	default:
		o.Need(name)
	}
	if !o.Has(given) {
		return nil
	}
	var seeds []string
	for seed := range strings.SplitSeq(o.Text(given), ",") {
		if seed = strings.TrimSpace(seed); seed != "" {
			seeds = append(seeds, seed)
		}
	}
	if len(seeds) == 0 {
		o.Fail(given, "want HOST or HOST:PORT, or some of them with commas between")
	}
	return seeds
}

func (d *destination) Deliver(ctx context.Context, item *archive.Item) error {
	d.alone.RLock()
	err := d.produce(ctx, item)
	d.alone.RUnlock()
	if errors.Is(err, kerr.MessageTooLarge) {
		// It may be the batch that was too large, not this message.
		d.alone.Lock()
		defer d.alone.Unlock()
		if err = d.produce(ctx, item); errors.Is(err, kerr.MessageTooLarge) {
			return archive.Final(err)
		}
	}
	return err
}

// produce sends a result and waits until the cluster has it.
func (d *destination) produce(ctx context.Context, item *archive.Item) error {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := d.client.ProduceSync(short, &kgo.Record{
		Topic:   d.topic,
		Value:   item.Payload,
		Headers: []kgo.RecordHeader{{Key: header, Value: []byte(item.ID)}},
	}).FirstErr()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case short.Err() != nil:
		err = fmt.Errorf("not acknowledged within %v", limit)
	case errors.Is(err, kerr.UnknownTopicID):
		// There is another topic of the name now, which is found out if we
		// forget the one that was.
		d.client.PurgeTopicsFromProducing(d.topic)
	}
	err = fmt.Errorf("failed to send message: %w", err)
	if why := d.doors.shut(); why != nil && !strings.Contains(err.Error(), why.Error()) {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return err
}

func (d *destination) Close() error {
	d.client.Close()
	return nil
}
