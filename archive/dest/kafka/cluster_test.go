package kafka

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"owl/archive"
	"owl/archive/dest/internal/desttest"
	"owl/internal/testprog"
	"owl/internal/testserver"
)

// newCluster returns a cluster of one broker with the topic results.
func newCluster(t *testing.T, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "results")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// openAt opens a destination with a topic of some brokers, with more members of
// its data.
func openAt(t *testing.T, brokers []string, topic string, more map[string]any) archive.Opened {
	t.Helper()
	data := map[string]any{"schema": 2, "topic": topic, "server": strings.Join(brokers, ","), "security-protocol": "PLAINTEXT"}
	maps.Copy(data, more)
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return desttest.MustOpen(t, Open, string(text))
}

// What the tests of all destinations have.
var item, deliver, fails = desttest.Item, desttest.Deliver, desttest.Fails

// read reads n records of a topic from its beginning.
func read(t *testing.T, brokers []string, topic string, n int, options ...kgo.Opt) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testprog.Patience)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		fetched := c.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		all = append(all, fetched.Records()...)
	}
	return all
}

// ids returns the results' IDs that records have.
func ids(t *testing.T, records []*kgo.Record) []string {
	t.Helper()
	var all []string
	for _, r := range records {
		if len(r.Headers) != 1 || r.Headers[0].Key != "result-id" {
			t.Fatalf("headers %v, want result-id", r.Headers)
		}
		all = append(all, string(r.Headers[0].Value))
	}
	return all
}

func TestDelivered(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	type request struct {
		acks       int16
		idempotent bool
	}
	seen := make(chan request, 1)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		p := r.(*kmsg.ProduceRequest)
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(p.Topics[0].Partitions[0].Records); err != nil {
			t.Error(err)
		}
		seen <- request{acks: p.Acks, idempotent: batch.ProducerID >= 0}
		return nil, nil, false
	})
	const payload = `{"id":"1","text":"é"}`
	deliver(t, openAt(t, c.ListenAddrs(), "results", nil), item("result 1", payload))
	if got, want := <-seen, (request{acks: -1, idempotent: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	all := read(t, c.ListenAddrs(), "results", 1)
	if string(all[0].Value) != payload || all[0].Key != nil || all[0].Attrs.CompressionType() != 0 {
		t.Errorf("%s, key %q, compression %d, want %s", all[0].Value, all[0].Key, all[0].Attrs.CompressionType(), payload)
	}
	if diff := cmp.Diff([]string{"result 1"}, ids(t, all)); diff != "" {
		t.Error(diff)
	}
}

// A real cluster takes what a fake one does, if there is one: KAFKA_BROKERS are
// its brokers.
func TestRealCluster(t *testing.T) {
	brokers := os.Getenv("KAFKA_BROKERS")
	if brokers == "" {
		t.Skip("SKIPPED: there is no KAFKA_BROKERS")
	}
	all := strings.Split(brokers, ",")
	topic := fmt.Sprintf("owl-test-%d", time.Now().UnixNano())
	d := openAt(t, all, topic, nil)
	testprog.Until(t, "the topic", func() error { return d.Deliver(t.Context(), item("1", `1`)) })
	if got := ids(t, read(t, all, topic, 1)); got[0] != "1" {
		t.Errorf("%v, want 1", got)
	}
}

func TestParallel(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := openAt(t, c.ListenAddrs(), "results", nil)
	const each = 50
	var all sync.WaitGroup
	var want []string
	for n := range parallel {
		for i := range each {
			want = append(want, strconv.Itoa(n*each+i))
		}
		all.Go(func() {
			for i := range each {
				if err := d.Deliver(t.Context(), item(strconv.Itoa(n*each+i), `1`)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := ids(t, read(t, c.ListenAddrs(), "results", parallel*each))
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, other := testserver.NewAuthority(t), testserver.NewAuthority(t)
	c := newCluster(t, kfake.TLS(a.Server(t, "127.0.0.1")))
	secure := func(more map[string]any) archive.Opened {
		data := map[string]any{"security-protocol": "SSL", "kafka-retries": 0}
		maps.Copy(data, more)
		return openAt(t, c.ListenAddrs(), "results", data)
	}
	deliver(t, secure(map[string]any{"_ssl-cacert": a.File}), item("1", `1`))
	fails(t, secure(map[string]any{"_ssl-cacert": other.File}), item("2", `1`), "certificate signed by unknown authority", false)
	fails(t, secure(nil), item("2", `1`), "certificate signed by unknown authority", false)
	got := ids(t, read(t, c.ListenAddrs(), "results", 1, kgo.DialTLSConfig(&tls.Config{RootCAs: a.Pool()})))
	if diff := cmp.Diff([]string{"1"}, got); diff != "" {
		t.Error(diff)
	}
}

// A cluster may want to see a certificate of ours.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	a := testserver.NewAuthority(t)
	server := a.Server(t, "127.0.0.1")
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
	c := newCluster(t, kfake.TLS(server))
	data := map[string]any{"security-protocol": "SSL", "kafka-retries": 0, "_ssl-cacert": a.File}
	fails(t, openAt(t, c.ListenAddrs(), "results", data), item("1", `1`), "certificate required", false)
	cert, key := a.Sign(t, "owl")
	for name, text := range map[string][]byte{"_ssl-cert": cert, "_ssl-key": key} {
		path := filepath.Join(t.TempDir(), "pem")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		data[name] = path
	}
	deliver(t, openAt(t, c.ListenAddrs(), "results", data), item("1", `1`))
}

func TestHostName(t *testing.T) {
	t.Parallel()
	a := testserver.NewAuthority(t)
	c := newCluster(t, kfake.TLS(a.Server(t, "elsewhere")))
	data := map[string]any{"security-protocol": "SSL", "kafka-retries": 0, "_ssl-ca": a.File}
	fails(t, openAt(t, c.ListenAddrs(), "results", data), item("1", `1`), "cannot validate certificate for 127.0.0.1", false)
	data["ssl-checkhostname"] = false
	deliver(t, openAt(t, c.ListenAddrs(), "results", data), item("1", `1`))
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "owl", testserver.Password))
			data := map[string]any{
				"security-protocol": "SASL_PLAINTEXT", "sasl-mechanism": mechanism, "kafka-retries": 0,
				"sasl-username": "owl", "_sasl-password": testserver.Password,
			}
			deliver(t, openAt(t, c.ListenAddrs(), "results", data), item("1", `1`))
			data["_sasl-password"] = testserver.Password + "x"
			fails(t, openAt(t, c.ListenAddrs(), "results", data), item("2", `1`), "failed to send message: ", false)
		})
	}
}

// A topic that there is not yet is waited for until the next try.
func TestNoTopic(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := openAt(t, c.ListenAddrs(), "later", map[string]any{"kafka-retries": 1})
	fails(t, d, item("1", `1`), "UNKNOWN_TOPIC_OR_PARTITION", false)
	admin, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	request := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "later", 1, 1
	request.Topics = append(request.Topics, topic)
	if _, err := request.RequestWith(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, item("1", `1`))
	if diff := cmp.Diff([]string{"1"}, ids(t, read(t, c.ListenAddrs(), "later", 1))); diff != "" {
		t.Error(diff)
	}
}

// answer makes a cluster answer requests to produce with an error while it is
// asked to.
func answer(c *kfake.Cluster, err *kerr.Error, while func(n int64) bool) *atomic.Int64 {
	var n atomic.Int64
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !while(n.Add(1)) {
			return nil, nil, false
		}
		request := r.(*kmsg.ProduceRequest)
		response := request.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range request.Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, err.Code
				topic.Partitions = append(topic.Partitions, partition)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	return &n
}

// What too few replicas have is not delivered.
func TestNotAcknowledged(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := answer(c, kerr.NotEnoughReplicas, func(n int64) bool { return n <= 2 })
	d := openAt(t, c.ListenAddrs(), "results", map[string]any{"kafka-retries": 1})
	fails(t, d, item("1", `1`), "failed to send message: ", false)
	if n.Load() != 2 {
		t.Errorf("%d requests, want 2", n.Load())
	}
	deliver(t, d, item("1", `1`))
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := openAt(t, c.ListenAddrs(), "results", nil)
	fails(t, d, item("1", `"`+strings.Repeat("x", 2<<20)+`"`), "MESSAGE_TOO_LARGE", true)
	deliver(t, d, item("2", `"`+strings.Repeat("x", 900_000)+`"`))

	// A batch that is too large says nothing of its messages.
	n := answer(c, kerr.MessageTooLarge, func(n int64) bool { return n == 1 })
	deliver(t, d, item("3", `1`))
	if n.Load() != 2 {
		t.Errorf("%d requests, want 2", n.Load())
	}
	answer(c, kerr.MessageTooLarge, func(int64) bool { return true })
	fails(t, d, item("4", `1`), "MESSAGE_TOO_LARGE", true)
}

// Who gives up does not wait for a broker that never answers.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := openAt(t, c.ListenAddrs(), "results", nil)
	deliver(t, d, item("1", `1`))
	asked := make(chan bool, 1)
	resume := make(chan bool)
	defer close(resume)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		asked <- true
		c.SleepControl(func() { <-resume })
		return nil, nil, false
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if err := d.Deliver(ctx, item("2", `1`)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// portOf returns the port of a cluster's broker.
func portOf(t *testing.T, c *kfake.Cluster) int {
	t.Helper()
	_, port, err := net.SplitHostPort(c.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRestart(t *testing.T) {
	t.Parallel()
	data := kfake.DataDir(t.TempDir())
	c := newCluster(t, data)
	address, port := c.ListenAddrs(), portOf(t, c)
	d := openAt(t, address, "results", map[string]any{"kafka-retries": 1})
	deliver(t, d, item("1", `1`))
	c.Close()
	fails(t, d, item("2", `1`), "connection refused", false)
	newCluster(t, data, kfake.Ports(port))
	deliver(t, d, item("2", `1`))
	if diff := cmp.Diff([]string{"1", "2"}, ids(t, read(t, address, "results", 2))); diff != "" {
		t.Error(diff)
	}
}

// A topic that was deleted and made again is another one.
func TestAnotherTopic(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	address, port := c.ListenAddrs(), portOf(t, c)
	d := openAt(t, address, "results", map[string]any{"kafka-retries": 1})
	deliver(t, d, item("1", `1`))
	c.Close()
	newCluster(t, kfake.Ports(port))
	testprog.Until(t, "a delivery", func() error { return d.Deliver(t.Context(), item("2", `1`)) })
	if got := ids(t, read(t, address, "results", 1)); got[0] != "2" {
		t.Errorf("%v, want 2", got)
	}
}
