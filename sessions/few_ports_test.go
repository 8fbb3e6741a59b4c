package sessions_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/probe"
	"owl/sessions/server"
)

// One port of the server is enough for sessions without holes, if this host has
// as many as docs/firewall.md reckons; and the other way round.
func TestFewPorts(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 4 * time.Second, 60 * time.Second} {
		for _, timeout := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 10 * time.Second} {
			need := uint16((11*time.Second+length+2*timeout)/length) + 1
			one, many := probe.PortRange{Low: 8760, High: 8760}, probe.PortRange{Low: 8760, High: 8759 + need}
			t.Run(fmt.Sprintf("%v/%v/%v", length, timeout, many), func(t *testing.T) {
				t.Parallel()
				for _, send := range []bool{false, true} {
					bubble.Test(t, func(t *testing.T) { testFewPorts(t, length, timeout, one, many, send) })
					bubble.Test(t, func(t *testing.T) { testFewPorts(t, length, timeout, many, one, send) })
				}
			})
		}
	}
}

func testFewPorts(t *testing.T, length, timeout time.Duration, theirs, ours probe.PortRange, send bool) {
	const packets = 50
	cfg := config(packets, length/packets, timeout)
	cfg.Slots[0].Type = 1 // fixed waiting times: sessions are no shorter than length
	cfg.Ports = ours
	cfg.Send = send
	w := newWorld(t)
	h := w.serve(10*time.Millisecond, func(c *server.Config) { c.Ports = theirs })
	w.start(cfg)
	time.Sleep(40*length + timeout + 10*time.Second)
	synctest.Wait()
	w.finish(h)
	spans := w.spans(".owp")
	wantChain(t, spans)
	if len(spans) < 40 {
		t.Errorf("server %v, here %v: %d sessions, want 40 or more", theirs, ours, len(spans))
	}
	if log := w.logged(); log != "" {
		t.Errorf("server %v, here %v: logged: %s", theirs, ours, log)
	}
	w.wantAccounted()
}
