package clock

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKernelOf(t *testing.T) {
	for _, tc := range []struct {
		name string
		tx   unix.Timex
		want Kernel
	}{
		{"microseconds", unix.Timex{Offset: -7, Esterror: 12, Maxerror: 900, Status: unix.STA_PLL},
			Kernel{Offset: -7 * time.Microsecond, Error: 12 * time.Microsecond, MaxError: 900 * time.Microsecond, Synchronized: true}},
		{"nanoseconds", unix.Timex{Offset: 1234, Status: unix.STA_NANO | unix.STA_PLL},
			Kernel{Offset: 1234, Synchronized: true}},
		{"unsynchronized", unix.Timex{Esterror: 16e6, Maxerror: 16e6, Status: unix.STA_UNSYNC},
			Kernel{Error: 16 * time.Second, MaxError: 16 * time.Second}},
		{"hardware fault", unix.Timex{Status: unix.STA_CLOCKERR}, Kernel{}},
	} {
		if got := kernelOf(&tc.tx); got != tc.want {
			t.Errorf("%s: kernelOf = %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestReadKernel(t *testing.T) {
	s, err := readKernel()
	if err != nil {
		t.Fatal(err)
	}
	if s.MaxError < 0 || s.Error < 0 {
		t.Errorf("readKernel = %+v, want errors that are not negative", s)
	}
}

// TestWatchSet: the kernel takes the timer, and the watching ends when it shall.
// That it tells of a step no test can show, for it would have to set the clock.
func TestWatchSet(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		watchSet(ctx, func() { t.Error("told of a step that was none") })
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("the kernel does not take the timer")
	case <-time.After(20 * time.Millisecond): // which is nothing but patience
	}
	cancel()
	<-ended
}
