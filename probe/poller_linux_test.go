package probe

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whoever waits and rests does so no longer once the end has come, long rests and
// short ones.
func TestPollerEnds(t *testing.T) {
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	if !p.rest(time.Microsecond) || !p.rest(0) {
		t.Error("a rest ended as if the end had come")
	}
	done := make(chan bool)
	go func() { done <- p.rest(time.Hour) }()
	go func() { done <- p.wait(make([]unix.EpollEvent, 2)) > 0 }()
	p.end()
	for range 2 {
		select {
		case more := <-done:
			if more {
				t.Error("it goes on after the end")
			}
		case <-time.After(20 * time.Second):
			t.Fatal("somebody waits after the end")
		}
	}
	if p.rest(rawRest) {
		t.Error("a short rest after the end")
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// A descriptor is reported once each time that it is watched.
func TestPollerReportsOnce(t *testing.T) {
	p, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	events := make([]unix.EpollEvent, 4)
	for _, op := range []int{unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_MOD} {
		if err := p.watch(fd, op); err != nil {
			t.Fatal(err)
		}
		if n := p.wait(events); n != 1 || events[0].Fd != int32(fd) {
			t.Errorf("%d events, the first of %d; want one of %d", n, events[0].Fd, fd)
		}
		if n, err := unix.EpollWait(p.epoll, events, 0); n != 0 {
			t.Errorf("%d events more, %v", n, err)
		}
	}
}
