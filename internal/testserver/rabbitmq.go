package testserver

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
)

// A RabbitMQ is a broker. Its users are owl, who may do anything, and nobody, who
// may do nothing; the password of both is [Password]. Its virtual hosts are /, and
// a/b.
type RabbitMQ struct {
	Port   int
	Secure int // the port with TLS
	dir    string
	env    []string
	broker *testprog.Process
}

// StartRabbitMQ starts a broker that has a certificate of the authority.
func StartRabbitMQ(t testing.TB, a *Authority) *RabbitMQ {
	t.Helper()
	for _, program := range []string{rabbitProgram("rabbitmq-server"), "epmd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("SKIPPED: there is no RabbitMQ:", err)
		}
	}
	b := &RabbitMQ{Port: port(t), Secure: port(t), dir: t.TempDir()}
	cert, key := a.Sign(t, "localhost")
	b.write(t, "server.crt", string(cert))
	b.write(t, "server.key", string(key))
	b.write(t, "enabled_plugins", "[].\n")
	b.write(t, "definitions.json", definitions(t))
	b.write(t, "rabbitmq.conf", strings.Join([]string{
		fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d", b.Port),
		fmt.Sprintf("listeners.ssl.1 = 127.0.0.1:%d", b.Secure),
		"ssl_options.cacertfile = " + a.File,
		"ssl_options.certfile = " + filepath.Join(b.dir, "server.crt"),
		"ssl_options.keyfile = " + filepath.Join(b.dir, "server.key"),
		"load_definitions = " + filepath.Join(b.dir, "definitions.json"),
		"max_message_size = 1000000",
		"log.console = true",
		"log.file = false",
		"",
	}, "\n"))
	// Erlang's port mapper, which would stay, is a child of the test.
	mapper := fmt.Sprint(port(t))
	b.env = append(os.Environ(),
		"HOME="+b.dir, // for its cookie
		"ERL_EPMD_PORT="+mapper,
		"ERL_EPMD_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODENAME=owl%d@localhost", b.Port),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", port(t)),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(b.dir, "rabbitmq.conf"),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(b.dir, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(b.dir, "data"),
		"RABBITMQ_LOG_BASE="+filepath.Join(b.dir, "log"),
		"RABBITMQ_PID_FILE="+filepath.Join(b.dir, "pid"),
		"RABBITMQ_LOGS=-",
	)
	epmd := exec.Command("epmd", "-address", "127.0.0.1", "-port", mapper)
	epmd.Env = b.env
	testprog.Start(t, epmd)
	testprog.Until(t, "Erlang's port mapper", func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+mapper)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	b.Start(t)
	return b
}

func (b *RabbitMQ) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// definitions returns what the broker has from the beginning.
func definitions(t testing.TB) string {
	t.Helper()
	type object map[string]any
	var users, hosts, rights []object
	for _, name := range []string{"owl", "nobody"} {
		users = append(users, object{"name": name, "password": Password, "tags": ""})
	}
	for _, host := range []string{"/", "a/b"} {
		hosts = append(hosts, object{"name": host})
		rights = append(rights, object{"user": "owl", "vhost": host, "configure": ".*", "write": ".*", "read": ".*"})
	}
	rights = append(rights, object{"user": "nobody", "vhost": "/", "configure": "", "write": "", "read": ""})
	text, err := json.Marshal(object{"users": users, "vhosts": hosts, "permissions": rights})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Start starts a broker that was killed.
func (b *RabbitMQ) Start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(rabbitProgram("rabbitmq-server"))
	cmd.Env, cmd.Dir = b.env, b.dir
	b.broker = testprog.Start(t, cmd)
	b.broker.AwaitText(t, b.broker.Stdout, "Server startup complete", 1)
}

// rabbitProgram returns a program of the broker: that of Debian's path would
// become another user, or refuse to run.
func rabbitProgram(name string) string {
	path := filepath.Join("/usr/lib/rabbitmq/bin", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	return name
}

// Kill ends the broker without a warning; what it has confirmed stays.
func (b *RabbitMQ) Kill(t testing.TB) {
	t.Helper()
	b.broker.SignalGroup(syscall.SIGKILL)
	b.broker.ExitCode(t)
}

// Control runs rabbitmqctl.
func (b *RabbitMQ) Control(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.Command(rabbitProgram("rabbitmqctl"), args...)
	cmd.Env, cmd.Dir = b.env, b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// URL returns where the broker is, for a user; vhost is as it is in a URL.
func (b *RabbitMQ) URL(user, vhost string) string {
	return fmt.Sprintf("amqp://%s@127.0.0.1:%d/%s", url.UserPassword(user, Password), b.Port, vhost)
}
