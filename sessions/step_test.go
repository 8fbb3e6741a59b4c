package sessions_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"owl/internal/bubble"
)

// A step that is too small to break the sessions leaves them be. Summaries of
// those that it fell into say so, and no others.
func TestSmallStep(t *testing.T) {
	for _, send := range []bool{false, true} {
		t.Run(fmt.Sprint("send ", send), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t)
				h := w.serve(time.Millisecond, nil)
				cfg := config(300, 100*time.Millisecond, 2*time.Second)
				cfg.Send = send
				cfg.Part = 100
				w.start(cfg)
				time.Sleep(75 * time.Second)
				w.clock.Set(-250 * time.Millisecond)
				time.Sleep(65 * time.Second)
				s := w.stream.Snapshot()
				w.finish(h)

				if s.ClockSteps != 1 || len(s.Gaps) != 0 {
					t.Errorf("%d steps of the clock, gaps %v; want 1 step and no gap", s.ClockSteps, s.Gaps)
				}
				line := regexp.MustCompile(`(?m)^MAXERR\t.*\nCLOCK_STEP\t(.*)$`)
				marked := map[bool]int{} // whole sessions, and parts
				whole := map[string]bool{}
				for _, name := range w.bases(".owp") {
					whole[name] = true
				}
				for _, name := range w.bases(".sum") {
					text, err := os.ReadFile(filepath.Join(w.dir, name+".sum"))
					if err != nil {
						t.Fatal(err)
					}
					m := line.FindSubmatch(text)
					if m == nil {
						continue
					}
					if string(m[1]) != "-0.250000000" {
						t.Errorf("%s: CLOCK_STEP %s, want -0.250000000", name, m[1])
					}
					marked[whole[name]]++
				}
				// The one in which the step was, and perhaps the one that was
				// asked for but not begun, or had only its last time-out left.
				if marked[true] < 1 || marked[true] > 2 || marked[false] < 1 || marked[false] > 2 {
					t.Errorf("%d sessions and %d parts are marked, of %d files; want 1 or 2 of each", marked[true], marked[false], len(w.bases(".sum")))
				}
			})
		})
	}
}

// Small steps that add up to a great one are one.
func TestStepsAddUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(time.Millisecond, nil)
		w.start(config(300, 100*time.Millisecond, 2*time.Second))
		time.Sleep(35 * time.Second)
		for range 3 {
			w.clock.Set(900 * time.Millisecond)
			w.net.Clocks[there].Set(900 * time.Millisecond)
			time.Sleep(7 * time.Second)
		}
		time.Sleep(40 * time.Second)
		s := w.stream.Snapshot()
		w.finish(h)
		if s.ClockSteps != 3 || len(s.Gaps) != 1 || s.Gaps["clock_invalid"] == 0 {
			t.Errorf("%d steps, gaps %v; want 3 steps and a gap of clock_invalid", s.ClockSteps, s.Gaps)
		}
	})
}

// bases returns the names of the files with a suffix, without it.
func (w *world) bases(suffix string) []string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "*"+suffix))
	if err != nil {
		w.t.Fatal(err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), suffix)
	}
	return files
}
