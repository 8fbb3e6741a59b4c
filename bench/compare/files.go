package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
)

// A fileKind says what session a file is of: how fast owstats reads it depends
// on how many packets there are in a time-out.
type fileKind struct{ rate, timeout int }

// write writes the file of a session of so many packets, none lost and none
// twice, in their order.
func (k fileKind) write(name string, packets uint32) (err error) {
	at := netip.MustParseAddrPort("127.0.0.1:8760")
	spec := &owamp.SessionSpec{
		ConfSender: true,
		Sender:     at, Receiver: at,
		Packets: packets,
		Start:   owamp.FromTime(time.Unix(1_750_000_000, 0)),
		Timeout: owamp.IntervalSeconds(float64(k.timeout)),
		Slots:   []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(1 / float64(k.rate))}},
	}
	generator, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := owp.Create(f, spec)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	precision := owamp.NewErrorEstimate(20*time.Microsecond, true)
	due := spec.Start
	for seq := range packets {
		due = due.Add(generator.Next())
		rec := owamp.Record{Seq: seq, Sent: due, SentErr: precision, RecvErr: precision, TTL: 254}
		rec.Recv = due.AddDuration(20*time.Microsecond + time.Duration(random.IntN(10_000)))
		if err := w.Write(rec); err != nil {
			return err
		}
	}
	return w.Finish(packets, nil, due.AddDuration(2*time.Duration(k.timeout)*time.Second))
}

// owstats returns how long owstats -M takes for a file, the start of the
// program included.
func (s suite) owstats(ctx context.Context, name string) (time.Duration, error) {
	began := time.Now()
	if out, err := exec.CommandContext(ctx, filepath.Join(s.Dir, "owstats"), "-M", name).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: owstats: %w\n%s", s.Name, err, out)
	}
	return time.Since(began), nil
}

// agent starts an owagent with so many streams from the server.
func (v *server) agent(ctx context.Context, streams int) (*exec.Cmd, error) {
	text := []byte("defaults:\n  timeout: 1s\nstreams:\n")
	for i := range streams {
		text = fmt.Appendf(text, "  - {name: s%d, peer: %q}\n", i, v.addr)
	}
	file := filepath.Join(v.base, "owagent.yaml")
	if err := os.WriteFile(file, text, 0o666); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(v.Dir, "owagent"), "run", "--config", file, "--socket", filepath.Join(v.base, "s"))
	return cmd, cmd.Start()
}
