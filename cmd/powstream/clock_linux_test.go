package main

import (
	"encoding/binary"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"owl/internal/testprog"
	"owl/owamp"
)

// ntpServer is an NTP server on loopback whose clock is ahead by offset.
func ntpServer(t *testing.T, offset time.Duration) (addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	go func() {
		defer close(ended)
		b := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			now := uint64(owamp.FromTime(time.Now().Add(offset)))
			answer := append([]byte{4<<3 | 4, 2, 6, 0xe9}, make([]byte, 44)...)
			binary.BigEndian.PutUint64(answer[16:], now-1<<32)
			copy(answer[24:], b[40:48])
			binary.BigEndian.PutUint64(answer[32:], now)
			binary.BigEndian.PutUint64(answer[40:], now)
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	return conn.LocalAddr().String()
}

// TestNTP: what an NTP server says against this host's clock is in the errors of
// the time stamps, and is told once.
func TestNTP(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: takes seconds")
	}
	s := serve(t, testprog.Build(t, "owl/cmd/owampd"), "127.0.0.1:0")
	p, _ := powstream(t, short, "--ntp", ntpServer(t, 300*time.Millisecond), "--chrony", "off", s.addr)
	p.AwaitText(t, p.Stdout, ".sum\n", 2)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	second := ""
	for _, name := range p.Stdout.Lines() {
		if strings.HasSuffix(name, ".sum") {
			second = name
		}
	}
	text, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^MAXERR\t(\S+)$`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("%s has no MAXERR", second)
	}
	if err, _ := strconv.ParseFloat(m[1], 64); err < 0.29 || err > 0.5 {
		t.Errorf("MAXERR %s, want about 0.3", m[1])
	}
	if n := strings.Count(p.Stderr.String(), "1 of 1 NTP servers say that the clock is off by "); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, p.Stderr)
	}
}
