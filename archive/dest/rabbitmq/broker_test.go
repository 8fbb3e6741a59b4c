package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive"
	"owl/archive/dest/internal/desttest"
	"owl/internal/testprog"
	"owl/internal/testserver"
)

// A world is a broker, and one who looks what is in its queues.
type world struct {
	*testserver.RabbitMQ
	ca     *testserver.Authority
	conn   *amqp.Connection
	queues *amqp.Channel
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	var err error
	if w.conn, err = amqp.Dial(w.URL("owl", "")); err != nil {
		t.Fatal(err)
	}
	if w.queues, err = w.conn.Channel(); err != nil {
		t.Fatal(err)
	}
}

// queue makes a queue that a result can be sent to by its name.
func (w *world) queue(t *testing.T, name string) {
	t.Helper()
	if _, err := w.queues.QueueDeclare(name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

// next returns the next message of a queue; nil: there is none.
func (w *world) next(t *testing.T, queue string) *amqp.Delivery {
	t.Helper()
	m, ok, err := w.queues.Get(queue, true)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return nil
	}
	return &m
}

// open opens a destination, with more members of its data.
func (w *world) open(t *testing.T, url string, more ...string) archive.Opened {
	t.Helper()
	text, err := json.Marshal(url)
	if err != nil {
		t.Fatal(err)
	}
	return desttest.MustOpen(t, Open, "{"+strings.Join(append([]string{`"schema": 3`, `"_url": ` + string(text)}, more...), ", ")+"}")
}

// What the tests of all destinations have.
var item, deliver, fails = desttest.Item, desttest.Deliver, desttest.Fails

// One broker serves all that is tried, for it takes a while to start.
func TestBroker(t *testing.T) {
	t.Parallel()
	w := &world{ca: testserver.NewAuthority(t)}
	w.RabbitMQ = testserver.StartRabbitMQ(t, w.ca)
	w.connect(t)
	w.queue(t, "slow")
	w.queue(t, "durable") // which the broker has written down when it is killed
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Delivered", testDelivered},
		{"RoutingKeys", testRoutingKeys},
		{"Unroutable", testUnroutable},
		{"NoExchange", testNoExchange},
		{"VirtualHosts", testVirtualHosts},
		{"TLS", testTLS},
		{"TooLong", testTooLong},
		{"Parallel", testParallel},
		{"Connections", testConnections},
		{"Patience", testPatience},
		{"Blocked", testBlocked},
		{"Restart", testRestart}, // the last: connections are gone after it
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

func testDelivered(t *testing.T, w *world) {
	w.queue(t, "results")
	const payload = `{"id":"1","text":"é"}`
	for more, mode := range map[string]uint8{`"persistent": true`: amqp.Persistent, `"persistent": false`: amqp.Transient} {
		d := w.open(t, w.URL("owl", ""), `"routing-key": "results"`, more)
		deliver(t, d, item("result 1", payload))
		m := w.next(t, "results")
		if m == nil {
			t.Fatal("there is no message")
		}
		got := []any{string(m.Body), m.MessageId, m.ContentType, m.ContentEncoding, m.DeliveryMode, m.Exchange, m.RoutingKey}
		want := []any{payload, "result 1", "application/json", "utf-8", mode, "", "results"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func testRoutingKeys(t *testing.T, w *world) {
	if err := w.queues.ExchangeDeclare("topics", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	w.queue(t, "latency")
	if err := w.queues.QueueBind("latency", "latency.#", "topics", false, nil); err != nil {
		t.Fatal(err)
	}
	d := w.open(t, w.URL("owl", ""), `"exchange": "topics"`, `"routing-key": {"script": "\"\\(.type).\\(.to)\"", "output-raw": true}`)
	deliver(t, d, item("1", `{"type":"latency","to":"b"}`))
	if m := w.next(t, "latency"); m == nil || m.RoutingKey != "latency.b" || m.Exchange != "topics" {
		t.Errorf("%+v, want one for latency.b", m)
	}
	fails(t, d, item("2", `{"type":"trace","to":"b"}`), `no queue takes the message: 312 NO_ROUTE: exchange "topics", routing key "trace.b"`, false)
	for script, want := range map[string]string{
		`.x.y.z`:      "routing key transform failed: transform: expected an object but got: string",
		`null`:        "routing key transform failed: it makes null",
		`"x" * 256`:   "routing key transform failed: it makes 256 octets",
		`error("no")`: "routing key transform failed: transform: error: no",
	} {
		text, err := json.Marshal(script)
		if err != nil {
			t.Fatal(err)
		}
		d := w.open(t, w.URL("owl", ""), `"routing-key": {"script": `+string(text)+`}`)
		fails(t, d, item("3", `{"x":"y"}`), want, true)
	}
	w.queue(t, "17")
	d = w.open(t, w.URL("owl", ""), `"routing-key": {"script": ".n"}`)
	deliver(t, d, item("4", `{"n":17}`))
	if m := w.next(t, "17"); m == nil || m.MessageId != "4" {
		t.Errorf("%+v, want result 4", m)
	}
}

func testUnroutable(t *testing.T, w *world) {
	d := w.open(t, w.URL("owl", ""), `"routing-key": "later"`)
	for range 3 {
		fails(t, d, item("1", `1`), `no queue takes the message: 312 NO_ROUTE: exchange "", routing key "later"`, false)
	}
	w.queue(t, "later")
	deliver(t, d, item("1", `1`))
	if m := w.next(t, "later"); m == nil || m.MessageId != "1" {
		t.Errorf("%+v, want result 1", m)
	}
	if m := w.next(t, "later"); m != nil {
		t.Errorf("%+v, want one message", m)
	}
}

func testNoExchange(t *testing.T, w *world) {
	d := w.open(t, w.URL("owl", ""), `"exchange": "soon"`)
	for range 2 {
		fails(t, d, item("1", `1`), "no exchange 'soon' in vhost '/'", false)
	}
	if err := w.queues.ExchangeDeclare("soon", "fanout", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	w.queue(t, "sooner")
	if err := w.queues.QueueBind("sooner", "", "soon", false, nil); err != nil {
		t.Fatal(err)
	}
	deliver(t, d, item("1", `1`))
	if m := w.next(t, "sooner"); m == nil || m.MessageId != "1" {
		t.Errorf("%+v, want result 1", m)
	}
}

// What takes long takes it together.
func testPatience(t *testing.T, w *world) {
	for name, test := range map[string]func(*testing.T, *world){"Refused": testRefused, "Hangs": testHangs} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

func testRefused(t *testing.T, w *world) {
	wrong := strings.Replace(w.URL("owl", ""), testserver.Password, testserver.Password+"x", 1)
	var all sync.WaitGroup // the broker lets those wait whom it refuses
	for _, c := range []struct {
		d    archive.Opened
		want string
	}{
		{w.open(t, wrong), "username or password not allowed"},
		{w.open(t, w.URL("owl", "none")), "vhost none not found"},
		{w.open(t, w.URL("nobody", "a%2Fb")), "access to vhost 'a/b' refused for user 'nobody'"},
		{w.open(t, w.URL("nobody", ""), `"exchange": "amq.topic"`), "ACCESS_REFUSED - "},
		{w.open(t, w.URL("owl", "")+"?auth_mechanism=external"), "SASL"},
	} {
		all.Go(func() { fails(t, c.d, item("1", `1`), c.want, false) })
	}
	all.Wait()
}

func testVirtualHosts(t *testing.T, w *world) {
	w.queue(t, "main")
	for _, vhost := range []string{"", "/", "%2F", "%2f"} {
		d := w.open(t, w.URL("owl", vhost), `"routing-key": "main"`)
		deliver(t, d, item("of "+vhost, `1`))
		if m := w.next(t, "main"); m == nil || m.MessageId != "of "+vhost {
			t.Errorf("%q: %+v", vhost, m)
		}
	}
	conn, err := amqp.Dial(w.URL("owl", "a%2Fb"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other := &world{RabbitMQ: w.RabbitMQ}
	if other.queues, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	other.queue(t, "other")
	deliver(t, w.open(t, w.URL("owl", "a%2Fb"), `"routing-key": "other"`), item("1", `1`))
	if m := other.next(t, "other"); m == nil || m.MessageId != "1" {
		t.Errorf("%+v, want result 1", m)
	}
}

func testTLS(t *testing.T, w *world) {
	w.queue(t, "secure")
	address := func(host string, query ...string) string {
		return fmt.Sprintf("amqps://owl:%s@%s:%d/?%s", testserver.Password, host, w.Secure, strings.Join(query, "&"))
	}
	ca := "cacertfile=" + url.QueryEscape(w.ca.File)
	for i, good := range []string{
		address("localhost", ca),
		address("127.0.0.1", ca, "server_name_indication=localhost"),
		address("127.0.0.1", "verify=verify_none", "auth_mechanism=amqplain"),
	} {
		id := fmt.Sprint(i)
		deliver(t, w.open(t, good, `"routing-key": "secure"`), item(id, `1`))
		if m := w.next(t, "secure"); m == nil || m.MessageId != id {
			t.Errorf("%s: %+v", good, m)
		}
	}
	for bad, want := range map[string]string{
		address("localhost"):     "certificate signed by unknown authority",
		address("127.0.0.1", ca): "cannot validate certificate for 127.0.0.1",
	} {
		fails(t, w.open(t, bad), item("1", `1`), want, false)
	}
}

// A message that the broker will never take goes no further.
func testTooLong(t *testing.T, w *world) {
	w.queue(t, "long")
	d := w.open(t, w.URL("owl", ""), `"routing-key": "long"`)
	fails(t, d, item("1", `"`+strings.Repeat("x", 1_000_000)+`"`), "larger than configured max size", true)
	deliver(t, d, item("2", `"`+strings.Repeat("x", 900_000)+`"`))
	if m := w.next(t, "long"); m == nil || m.MessageId != "2" || len(m.Body) != 900_002 {
		t.Error("want result 2, whole")
	}
}

func testParallel(t *testing.T, w *world) {
	w.queue(t, "many")
	d := w.open(t, w.URL("owl", ""), `"routing-key": "many"`)
	const each = 50
	var all sync.WaitGroup
	for n := range parallel {
		all.Go(func() {
			for i := range each {
				if err := d.Deliver(t.Context(), item(fmt.Sprint(n*each+i), `1`)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	seen := make(map[string]bool)
	for m := w.next(t, "many"); m != nil; m = w.next(t, "many") {
		seen[m.MessageId] = true
	}
	if len(seen) != parallel*each {
		t.Errorf("%d results, want %d", len(seen), parallel*each)
	}
}

// A proxy stands between us and a broker.
type proxy struct {
	net.Listener
	accepted, open atomic.Int64
	deaf           atomic.Bool // what we say is kept from the broker
}

func newProxy(t *testing.T, broker string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker)
			if err != nil {
				client.Close()
				return
			}
			p.accepted.Add(1)
			p.open.Add(1)
			go func() {
				io.Copy(client, server)
				client.Close()
			}()
			go func() {
				io.Copy(p.to(server), client)
				server.Close()
				p.open.Add(-1)
			}()
		}
	}()
	return p
}

// to returns a writer to w for when the proxy is not deaf.
func (p *proxy) to(w io.Writer) io.Writer {
	return writer(func(b []byte) (int, error) {
		if p.deaf.Load() {
			return len(b), nil
		}
		return w.Write(b)
	})
}

type writer func([]byte) (int, error)

func (f writer) Write(b []byte) (int, error) { return f(b) }

func (w *world) proxy(t *testing.T) (*proxy, string) {
	t.Helper()
	p := newProxy(t, fmt.Sprintf("127.0.0.1:%d", w.Port))
	return p, fmt.Sprintf("amqp://owl:%s@%s/", testserver.Password, p.Addr())
}

func testConnections(t *testing.T, w *world) {
	w.queue(t, "few")
	for expires, want := range map[string]int64{"PT1H": 1, "P0D": 5} {
		p, url := w.proxy(t)
		d := w.open(t, url, `"routing-key": "few"`, `"connection-expires": "`+expires+`"`)
		for range 5 {
			deliver(t, d, item("1", `1`))
		}
		if n := p.accepted.Load(); n != want {
			t.Errorf("%s: %d connections for 5 results, want %d", expires, n, want)
		}
		if expires == "PT1H" {
			continue
		}
		testprog.Until(t, "closing", func() error {
			if n := p.open.Load(); n != 0 {
				return fmt.Errorf("%d open", n)
			}
			return nil
		})
	}
	// A connection that ends by itself is not missed.
	p, url := w.proxy(t)
	d := w.open(t, url, `"routing-key": "few"`, `"connection-expires": "PT0.1S"`)
	deliver(t, d, item("1", `1`))
	testprog.Until(t, "expiry", func() error {
		if n := p.open.Load(); n != 0 {
			return fmt.Errorf("%d open", n)
		}
		return nil
	})
	deliver(t, d, item("2", `1`))
	if n := p.accepted.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// A broker that hears nothing, or does not answer, holds nobody up for ever.
func testHangs(t *testing.T, w *world) {
	p, url := w.proxy(t)
	d := w.open(t, url, `"routing-key": "slow"`, `"timeout": "PT2S"`)
	deliver(t, d, item("1", `1`))
	p.deaf.Store(true)
	fails(t, d, item("2", `1`), "not confirmed within 2s", false)
	fails(t, d, item("2", `1`), "no answer within 2s", false)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	patient := w.open(t, url, `"routing-key": "slow"`, `"timeout": "PT1H"`)
	if err := patient.Deliver(ctx, item("2", `1`)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	p.deaf.Store(false)
	deliver(t, d, item("2", `1`))
}

// A broker without memory takes nothing, says so, and takes it afterwards.
func testBlocked(t *testing.T, w *world) {
	if testing.Short() {
		t.Skip("rabbitmqctl takes seconds")
	}
	w.queue(t, "full")
	d := w.open(t, w.URL("owl", ""), `"routing-key": "full"`, `"timeout": "PT2S"`)
	deliver(t, d, item("1", `1`))
	w.Control(t, "set_vm_memory_high_watermark", "0")
	fails(t, d, item("2", `1`), "not confirmed within 2s: the broker takes nothing: low on memory", false)
	w.Control(t, "set_vm_memory_high_watermark", "0.4")
	testprog.Until(t, "a delivery", func() error { return d.Deliver(t.Context(), item("2", `1`)) })
}

// What was confirmed survives the broker's end, and results are delivered again
// when it is back.
func testRestart(t *testing.T, w *world) {
	d := w.open(t, w.URL("owl", ""), `"routing-key": "durable"`)
	var want []string
	for i := range 20 {
		id := fmt.Sprint(i)
		deliver(t, d, item(id, `1`))
		want = append(want, id)
	}
	w.Kill(t)
	fails(t, d, item("20", `1`), "connection refused", false)
	w.Start(t)
	deliver(t, d, item("20", `1`))
	w.connect(t)
	var got []string
	for m := w.next(t, "durable"); m != nil; m = w.next(t, "durable") {
		got = append(got, m.MessageId)
	}
	if diff := cmp.Diff(append(want, "20"), got); diff != "" {
		t.Error(diff)
	}
}
