package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"owl/internal/testserver"
)

// A world is a broker, and one who looks what is in its queues.
type world struct {
	*testserver.RabbitMQ
	ca *testserver.Authority

	mu     sync.Mutex // guards queues, which answers one question at a time
	queues *amqp.Channel
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	conn, err := amqp.Dial(w.URL("owl", ""))
	if err != nil {
		t.Fatal(err)
	}
	if w.queues, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
}

// drain returns the messages of a queue, which is empty then.
func (w *world) drain(t *testing.T, queue string) (all []amqp.Delivery) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		m, ok, err := w.queues.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, m)
	}
}

// config returns the config of the broker and a queue, with changes as ini has
// them.
func (w *world) config(queue string, changes ...string) string {
	return ini(append([]string{
		fmt.Sprintf("port=%d", w.Port), "username=owl", "password=" + testserver.Password, "queue=" + queue, "routing_key=" + queue,
	}, changes...)...)
}

// One broker serves all that is tried, for it takes a while to start.
func TestBroker(t *testing.T) {
	t.Parallel()
	w := &world{ca: testserver.NewAuthority(t)}
	w.RabbitMQ = testserver.StartRabbitMQ(t, w.ca)
	w.connect(t)
	t.Run("Alive", func(t *testing.T) {
		for _, c := range []struct {
			name string
			test func(*testing.T, *world)
		}{
			{"Golden", testGolden},
			{"Login", testLogin},
			{"Refused", testBrokerRefuses},
			{"TLS", testTLS},
			{"Nack", testNack},
			{"Cut", testCut},
			{"Killed", testKilled},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.test(t, w)
			})
		}
	})
	t.Run("BrokerKilled", func(t *testing.T) { testBrokerKilled(t, w) })
}

// What arrives is what the original sends, properties and body.
func testGolden(t *testing.T, w *world) {
	p := newPlace(t, w.config("netsage_tstat"))
	p.succeeds(t, "-d w -c c.ini -T 3 -S sensor.example -I 2")
	want := messages(t)
	got := w.drain(t, "netsage_tstat")
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
	for _, m := range got {
		original, ok := want[string(m.Body)]
		if !ok {
			t.Errorf("the original does not send\n%.2000s", m.Body)
			continue
		}
		properties := map[string]any{
			"content_type": m.ContentType, "content_encoding": m.ContentEncoding, "headers": "", "delivery_mode": float64(m.DeliveryMode),
			"priority": m.Priority, "correlation_id": m.CorrelationId, "reply_to": m.ReplyTo, "expiration": m.Expiration,
			"message_id": m.MessageId, "timestamp": "", "type": m.Type, "user_id": m.UserId, "app_id": m.AppId, "cluster_id": "",
		}
		if m.Headers != nil || !m.Timestamp.IsZero() {
			t.Errorf("headers %v, time stamp %v", m.Headers, m.Timestamp)
		}
		for name, v := range properties {
			if v == "" || v == uint8(0) {
				properties[name] = nil
			}
		}
		if d := cmp.Diff(original.Properties, properties); d != "" {
			t.Errorf("properties (-want +got):\n%s", d)
		}
		if m.Exchange != original.Exchange || m.RoutingKey != original.RoutingKey {
			t.Errorf("exchange %q, routing key %q", m.Exchange, m.RoutingKey)
		}
	}
}

// fails runs the program, which must say in its last line why it cannot send, and
// mark nothing.
func (p *place) fails(t *testing.T, line, want string) {
	t.Helper()
	code, stdout, stderr := p.run(t, line)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if last := lines[len(lines)-1]; code != failure || stdout != "" || !strings.Contains(last, want) || strings.Contains(stderr, testserver.Password) {
		t.Errorf("%d, %q; want %d, %q", code, stderr, failure, want)
	}
	if marks := p.hidden(t); strings.Contains(marks, ".processed") {
		t.Errorf("%s: there is %s", want, marks)
	}
}

// What the broker refuses is said in one line, and once it does not all is sent.
func testBrokerRefuses(t *testing.T, w *world) {
	w.mu.Lock()
	_, err := w.queues.QueueDeclare("transient", false, false, false, false, nil)
	w.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ config, want string }{
		{w.config("q", "vhost=nowhere"), "NOT_ALLOWED - vhost nowhere not found"},
		{w.config("q", "routing_key=nobody"), "no queue takes the message: 312 NO_ROUTE"},
		{w.config("q", "exchange=nowhere"), "NOT_FOUND - no exchange 'nowhere' in vhost '/'"},
		{w.config("transient", "[rabbit_queue_options]", "durable = True"), "failed to declare the queue transient: Exception (406)"},
		{w.config("absent", "[rabbit_queue_options]", "passive = True"), "failed to declare the queue absent: Exception (404)"},
		{w.config("q", "use_ssl=True"), "tls: first record does not look like a TLS handshake"},
	} {
		testRefusal(t, w, c.config, "after", c.want)
	}
}

// A broker is silent for 3 s before it refuses a login.
func testLogin(t *testing.T, w *world) {
	testRefusal(t, w, w.config("q", "password=wrong"), "after_login", `Exception (403) Reason: "username or password not allowed"`)
}

// testRefusal runs the program with a config that the broker refuses, and then with
// one that it takes, so that all arrives in the queue after.
func testRefusal(t *testing.T, w *world, config, after, want string) {
	t.Helper()
	p := newPlace(t, config, small)
	p.fails(t, "-d w -c c.ini -T 0 -D", want)
	p.configure(t, w.config(after, "[rabbit_queue_options]", "durable = False", "passive = no", "auto_delete ="))
	p.succeeds(t, "-d w -c c.ini -T 0")
	if got := w.drain(t, after); len(got) != 1 {
		t.Errorf("%d messages, want 1", len(got))
	}
}

// TLS without a look at the certificate, as in the original, and with one.
func testTLS(t *testing.T, w *world) {
	secure := fmt.Sprintf("port=%d", w.Secure)
	other := testserver.NewAuthority(t)
	for _, c := range []struct {
		host, option string
		want         string // "": it works
	}{
		{"127.0.0.1", "", ""},
		{"127.0.0.1", "cert_reqs = CERT_NONE", ""},
		{"localhost", "ca_certs = " + w.ca.File, ""},
		{"127.0.0.1", "ca_certs = " + w.ca.File + "\nserver_hostname = localhost", ""},
		{"127.0.0.1", "ca_certs = " + w.ca.File, "x509: cannot validate certificate for 127.0.0.1"},
		{"localhost", "ca_certs = " + other.File, "x509: certificate signed by unknown authority"},
		{"localhost", "cert_reqs = CERT_REQUIRED", "x509: certificate signed by unknown authority"},
		{"localhost", "ca_certs = /nowhere/ca.pem", "open /nowhere/ca.pem: no such file or directory"},
	} {
		p := newPlace(t, w.config("secure", "use_ssl=True", secure, "host="+c.host, "[ssl_options]", c.option), small)
		if c.want != "" {
			p.fails(t, "-d w -c c.ini -T 0", c.want)
			continue
		}
		_, stderr := p.succeeds(t, "-d w -c c.ini -T 0")
		if warned := strings.Contains(stderr, "nobody looks at the broker's certificate"); warned != !strings.Contains(c.option, "ca_certs") {
			t.Errorf("%s: %s", c.option, stderr)
		}
		if got := w.drain(t, "secure"); len(got) != 1 {
			t.Errorf("%d messages, want 1", len(got))
		}
	}
}

const long = "2016_02_17_13_54.out"

// bodies returns what the program prints of the long directory, slice by slice.
func bodies(t *testing.T) []string {
	t.Helper()
	stdout, _ := newPlace(t, ini(), long).succeeds(t, "-d w -c c.ini -T 0 -N -S x")
	all := strings.SplitAfter(stdout, "\n]\n")
	if len(all) != 4 {
		t.Fatalf("%d slices, want 3", len(all)-1)
	}
	for i := range all {
		all[i] = strings.TrimSuffix(all[i], "\n")
	}
	return all[:3]
}

// compare compares messages with what they are to be.
func compare(t *testing.T, got []amqp.Delivery, want ...string) {
	t.Helper()
	var texts []string
	for _, m := range got {
		texts = append(texts, string(m.Body))
	}
	if d := cmp.Diff(want, texts); d != "" {
		t.Errorf("messages (-want +got):\n%.1000s", d)
	}
}

// A queue that is full refuses a message: the others are not sent again.
func testNack(t *testing.T, w *world) {
	p := newPlace(t, w.config("full", "[rabbit_queue_options]", `arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}`), long)
	slices := bodies(t)
	for i, want := range slices {
		if i < len(slices)-1 {
			p.fails(t, "-d w -c c.ini -T 0 -S x", "the broker refuses the message (nack)")
		} else {
			p.succeeds(t, "-d w -c c.ini -T 0 -S x")
		}
		compare(t, w.drain(t, "full"), want)
	}
	if marks := p.hidden(t); marks != long+"/.processed" {
		t.Errorf("there is %s", marks)
	}
}

// A wire goes to a broker, and passes on only so many octets of a client.
type wire struct {
	net.Listener
	full chan struct{} // closed when there are no more to pass on
}

// newWire returns one that, when it is full, hangs up if it is to, or else is
// silent.
func newWire(t *testing.T, port int, octets int64, hangUp bool) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l, make(chan struct{})}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(client, port, octets, hangUp)
		}
	}()
	return w
}

func (w *wire) port() string { return fmt.Sprintf("port=%d", w.Addr().(*net.TCPAddr).Port) }

func (w *wire) carry(client net.Conn, port int, octets int64, hangUp bool) {
	broker, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		client.Close()
		return
	}
	go func() {
		defer client.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := broker.Read(b)
			if err != nil {
				return
			}
			client.Write(b[:n])
		}
	}()
	b := make([]byte, 4<<10)
	for octets > 0 {
		n, err := client.Read(b[:min(int64(len(b)), octets)])
		if err != nil {
			broker.Close()
			return
		}
		broker.Write(b[:n])
		octets -= int64(n)
	}
	close(w.full)
	if hangUp {
		client.Close()
		broker.Close()
	}
}

// The connection is lost in the middle of the second slice: what was confirmed is
// not sent again.
func testCut(t *testing.T, w *world) {
	slices := bodies(t)
	cut := newWire(t, w.Port, int64(len(slices[0])+len(slices[1])/2), true)
	p := newPlace(t, w.config("cut", cut.port()), long)
	p.fails(t, "-d w -c c.ini -T 0 -S x", "failed to publish: ")
	compare(t, w.drain(t, "cut"), slices[0])
	if marks := p.hidden(t); marks != long+"/.processing" {
		t.Errorf("there is %s", marks)
	}
	p.configure(t, w.config("cut"))
	p.succeeds(t, "-d w -c c.ini -T 0 -S x")
	compare(t, w.drain(t, "cut"), slices[1:]...)
}

// The program is killed in the middle of the second slice: what was confirmed is
// not sent again.
func testKilled(t *testing.T, w *world) {
	slices := bodies(t)
	silent := newWire(t, w.Port, int64(len(slices[0])+len(slices[1])/2), false)
	p := newPlace(t, w.config("killed", silent.port()), long)
	process := p.start(t, "-d w -c c.ini -T 0 -S x -v")
	process.AwaitText(t, process.Stderr, "confirmed flows=100", 1)
	<-silent.full
	process.Signal(syscall.SIGKILL)
	process.ExitCode(t)
	compare(t, w.drain(t, "killed"), slices[0])
	p.configure(t, w.config("killed"))
	p.succeeds(t, "-d w -c c.ini -T 0 -S x")
	compare(t, w.drain(t, "killed"), slices[1:]...)
	if marks := p.hidden(t); marks != long+"/.processed" {
		t.Errorf("there is %s", marks)
	}
}

// The broker is killed in the middle of the second slice.
func testBrokerKilled(t *testing.T, w *world) {
	if testing.Short() {
		t.Skip("a broker takes seconds to start again")
	}
	slices := bodies(t)
	silent := newWire(t, w.Port, int64(len(slices[0])+len(slices[1])/2), false)
	p := newPlace(t, w.config("dead", silent.port()), long)
	go func() {
		<-silent.full
		w.Kill(t)
	}()
	p.fails(t, "-d w -c c.ini -T 0 -S x", "failed to publish: ")
	p.configure(t, w.config("dead"))
	p.fails(t, "-d w -c c.ini -T 0 -S x", "connection refused")
	if marks := p.hidden(t); marks != long+"/.processing" {
		t.Errorf("there is %s", marks)
	}
	w.Start(t)
	w.connect(t)
	p.succeeds(t, "-d w -c c.ini -T 0 -S x")
	compare(t, w.drain(t, "dead"), slices[1:]...)
	if marks := p.hidden(t); marks != filepath.Join(long, ".processed") {
		t.Errorf("there is %s", marks)
	}
}
