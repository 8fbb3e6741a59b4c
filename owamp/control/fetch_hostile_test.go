package control_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
)

// fetchedFrom is what the reference's server says to a client that does nothing
// but fetch the session of open-clean, and where the messages end, by name.
func fetchedFrom(tb testing.TB) (octets []byte, ends map[string]int) {
	ends = make(map[string]int)
	for _, m := range append(conversation(tb, "open-clean"), fetching(tb, "open-clean")...) {
		if m.fromServer && (strings.HasPrefix(m.name, "Server") || strings.HasPrefix(m.name, "Fetch")) {
			octets = append(octets, m.octets...)
			ends[m.name] = len(octets)
		}
	}
	return octets, ends
}

// fetchScript connects and fetches the session of open-clean, for at most a
// minute.
func fetchScript(t *testing.T, conn net.Conn) (*kept, error) {
	c := connect(t, conn)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := fetch(ctx, c, recordedTo, 0, math.MaxUint32)
	if again := c.Start(canceled(t)); err != nil && !errors.Is(again, err) {
		t.Errorf("after %q the connection says %v", err, again)
	}
	return got, err
}

// canceled is a context that has ended.
func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestFetchClientCutOff(t *testing.T) {
	octets, ends := fetchedFrom(t)
	for n := ends["Server-Start"]; n < len(octets); n++ {
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			go func() {
				write(far, octets[:n], len(octets))
				synctest.Wait()
				far.Close()
			}()
			got, err := fetchScript(t, near)
			lost, ok := errors.AsType[*control.ConnError](err)
			if !ok || !errors.Is(lost, io.EOF) && !errors.Is(lost, io.ErrUnexpectedEOF) {
				t.Fatalf("after %d octets: %v, want a lost connection", n, err)
			}
			wantOneLine(t, err)
			if between := n == ends["Server-Start"]; between != errors.Is(lost, io.EOF) {
				t.Errorf("after %d octets: %v, between messages: %v", n, lost.Err, between)
			}
			if told := n >= ends["Fetched-Skips"]; told != (got != nil) {
				t.Errorf("after %d octets: the caller was told %v, want %v", n, got != nil, told)
			}
			// Records are given in whole batches, and these are less than one.
			if given := n >= ends["Fetched-Records"]-owamp.BlockSize; got != nil && given != (len(got.recs) == 20) {
				t.Errorf("after %d octets: %d records, want all: %v", n, len(got.recs), given)
			}
		})
	}
}

func TestFetchClientStall(t *testing.T) {
	octets, ends := fetchedFrom(t)
	for n := ends["Server-Start"]; n < len(octets); n++ {
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			go write(far, octets[:n], len(octets))
			begin := time.Now()
			if _, err := fetchScript(t, near); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
				t.Errorf("silence after %d octets: %v after %v, want its deadline after a minute", n, err, time.Since(begin))
			} else {
				wantOneLine(t, err)
			}
			far.Close()
		})
	}
}

// What a server may not say of a session.
func TestFetchClientRefuses(t *testing.T) {
	const ack, request, slots, skips, records = "Fetch-Ack", "Fetched-Request", "Fetched-Slots", "Fetched-Skips", "Fetched-Records"
	put := func(at int, v uint32) func(b []byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	tests := []struct {
		message string
		change  func(b []byte)
		want    string
	}{
		{ack, func(b []byte) { b[0] = 6 }, "reading Fetch-Ack: accept code 6, want 0 to 5"},
		{ack, func(b []byte) { b[1] = 3 }, "reading Fetch-Ack: finished is 3, want 0, 1 or 2"},
		{ack, put(4, 21), "next sequence number 21, want at most 20"},
		{ack, put(8, 1<<20+1), "reading Fetch-Ack: 1048577 skip ranges, want at most 1048576"},
		{ack, put(8, math.MaxUint32), "4294967295 skip ranges, want at most 1048576"},
		{ack, put(8, 4), "skip range 4003179 to 1"},
		{request, func(b []byte) { b[0] = 2 }, "reading a fetched session: first octet 2, want 1"},
		{request, func(b []byte) { b[1] = 5 }, "IP version 5"},
		{request, func(b []byte) { b[2], b[3] = 0, 0 }, "neither sends nor receives"},
		{request, put(4, 0), "schedule of 0 slots, want 1 to 65536"},
		{request, put(4, 1<<16+1), "schedule of 65537 slots, want 1 to 65536"},
		{request, put(4, math.MaxUint32), "schedule of 4294967295 slots"},
		{request, put(8, 19), "next sequence number 20, want at most 19"},
		{request, func(b []byte) { b[48]++ }, "session 0b620002eeaba5ef91118c1997e743f8, want " + recordedTo.String()},
		{slots, func(b []byte) { b[0] = 2 }, "slot type 2, want 0 or 1"},
		{records, put(0, 20), "record of packet 20 in a session of 20"},
		{records, put(25, math.MaxUint32), "record of packet 4294967295 in a session of 20"},
		{records, func(b []byte) { b[19*25+5] = 0 }, "record of packet 19 with the error estimates 0x0000 and 0x0001"},
	}
	for _, test := range tests {
		bubble.Test(t, func(t *testing.T) {
			_, ends := fetchedFrom(t)
			octets, _ := fetchedFrom(t)
			begin := 0
			for _, end := range ends {
				if end < ends[test.message] {
					begin = max(begin, end)
				}
			}
			test.change(octets[begin:])
			if strings.HasPrefix(test.want, "skip range") {
				// Room for the ranges that are announced.
				at := ends[slots]
				octets = slices.Insert(octets, at, binary.BigEndian.AppendUint64(nil, 1<<32|2)...)
				octets = slices.Insert(octets, at+8, binary.BigEndian.AppendUint64(nil, 4003179<<32|1)...)
			}
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			go write(far, octets, len(octets))
			_, err := fetchScript(t, near)
			if _, ok := errors.AsType[*control.ProtocolError](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %s", test.message, err, test.want)
			}
			wantOneLine(t, err)
			far.Close()
		})
	}
}

// A server that gives other packets than those it was asked for.
func TestFetchClientRange(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		octets, _ := fetchedFrom(t)
		go io.Copy(io.Discard, far)
		go write(far, octets, len(octets))
		c := connect(t, near)
		_, err := fetch(t.Context(), c, recordedTo, 1, 100)
		if _, ok := errors.AsType[*control.ProtocolError](err); !ok || !strings.Contains(err.Error(), "record of packet 0, want packets 1 to 100") {
			t.Errorf("%v, want that packet 0 was not asked for", err)
		}
		_ = c.Close()
		far.Close()
	})
}

// A client's own bounds.
func TestFetchClientBounds(t *testing.T) {
	k := randomKept(1, 3, 5, 7)
	for want, cfg := range map[string]control.ClientConfig{
		"5 skip ranges, want at most 4":      {MaxSkips: 4},
		"schedule of 3 slots, want 1 to 2":   {MaxSlots: 2},
		"":                                   {MaxSkips: 5, MaxSlots: 3},
		"reading a fetched session: session": {MaxSkips: 6},
	} {
		bubble.Test(t, func(t *testing.T) {
			h := newFetcher(k.answer)
			if strings.HasSuffix(want, "session") {
				h.answerFetch = func(owamp.FetchSession) control.FetchAnswer {
					other := *k
					other.head.Spec.SID = owamp.SID{7}
					return other.answer(owamp.FetchSession{SID: owamp.SID{7}, End: math.MaxUint32})
				}
			}
			near, ended := serve(t.Context(), openMode(), h)
			c, err := control.Connect(t.Context(), near, cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = fetch(t.Context(), c, k.head.Spec.SID, 0, math.MaxUint32)
			if want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if _, ok := errors.AsType[*control.ProtocolError](err); !ok || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			_ = c.Close()
			<-ended
		})
	}
}

// The client ends the fetch while it waits for the answer, or for more of it.
func TestFetchCanceled(t *testing.T) {
	octets, ends := fetchedFrom(t)
	for _, n := range []int{ends["Server-Start"], ends["Fetch-Ack"], len(octets) - 1} {
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go io.Copy(io.Discard, far)
			go write(far, octets[:n], len(octets))
			c := connect(t, near)
			why := errors.New("enough of it")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				synctest.Wait()
				cancel(why)
			}()
			if _, err := fetch(ctx, c, recordedTo, 0, math.MaxUint32); !errors.Is(err, why) {
				t.Errorf("after %d octets: %v, want %v", n, err, why)
			}
			_ = c.Close()
			far.Close()
		})
	}
	bubble.Test(t, func(t *testing.T) {
		h := newFetcher(randomKept(1, 1, 0, 1).answer)
		conn, ended := serve(t.Context(), openMode(), h)
		c := connect(t, conn)
		if _, err := fetch(canceled(t), c, recordedTo, 0, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it is canceled", err)
		}
		if _, err := fetch(t.Context(), c, fromServer(1, 9).SID, 0, 1); err != nil {
			t.Errorf("after a fetch that never began: %v", err)
		}
		_ = c.Close()
		<-ended
	})
}

// The octets of a fetch up to n are read, then the client closes or keeps
// silent: the server ends, and its handler is told once.
func TestFetchServerCutOff(t *testing.T) {
	k := keptFile(t, "../owp/testdata/open-clean/c2s.owp")
	request := owamp.FetchSession{End: math.MaxUint32, SID: recordedTo}.Append(nil)
	_, ends := fetchedFrom(t)
	total := ends["Fetched-Records"] - ends["Server-Start"]
	for _, stalls := range []bool{false, true} {
		for n := range len(request) + total {
			bubble.Test(t, func(t *testing.T) {
				h := newFetcher(k.answer)
				conn, ended := serve(t.Context(), openMode(), h)
				read(t, conn, owamp.ServerGreetingSize)
				write(conn, setUp(), 1000)
				read(t, conn, owamp.ServerStartSize)
				write(conn, request[:min(n, len(request))], 1000)
				asked := n >= len(request)
				if asked {
					read(t, conn, n-len(request))
				}
				begin := time.Now()
				if !stalls {
					synctest.Wait()
					conn.Close()
				}
				err := <-ended
				conn.Close()
				switch lost, isLost := errors.AsType[*control.ConnError](err); {
				case n == 0 && !stalls:
					if err != nil {
						t.Errorf("closed before the request: %v, want an orderly end", err)
					}
				case !isLost:
					t.Errorf("after %d octets: %v, want a lost connection", n, err)
				case stalls:
					want := 60 * time.Second
					if !asked {
						want = 1800 * time.Second
					}
					if !errors.Is(lost, os.ErrDeadlineExceeded) || time.Since(begin) != want {
						t.Errorf("silence after %d octets: %v after %v, want a time-out after %v", n, err, time.Since(begin), want)
					}
				}
				if len(h.asked) != len(h.done) || asked != (len(h.asked) == 1) || asked && !errors.Is(h.done[0], err) {
					t.Errorf("after %d octets: asked for %v, done with %v; want both: %v", n, h.asked, h.done, asked)
				}
			})
		}
	}
}

// A client has 60 s for each 16 KB, not for all: a slow one is served.
func TestFetchServerSlowClient(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		k := randomKept(1, 1, 0, 10_000)
		h := newFetcher(k.answer)
		cfg := openMode()
		cfg.IdleTimeout = time.Minute
		conn, ended := serve(t.Context(), cfg, h)
		c := connect(t, conn)
		begin := time.Now()
		var got []owamp.Record
		err := c.Fetch(t.Context(), k.head.Spec.SID, 0, math.MaxUint32, func(*control.Fetched) (func([]owamp.Record) error, error) {
			return func(recs []owamp.Record) error {
				got = append(got, recs...)
				time.Sleep(29 * time.Second)
				return nil
			}, nil
		})
		if err != nil || !slices.Equal(k.recs, got) {
			t.Errorf("%d records, %v; want all %d", len(got), err, len(k.recs))
		}
		if took := time.Since(begin); took < 7*time.Minute {
			t.Errorf("took %v, want longer than all time-outs", took)
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// The server ends while its handler looks for a session, and while it sends
// one.
func TestFetchServerCanceled(t *testing.T) {
	why := errors.New("the server ends")
	for _, sending := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			k := randomKept(1, 1, 0, 10_000)
			h := &waitingFetcher{fakeFetcher: newFetcher(k.answer)}
			if sending {
				h.wait = func(context.Context) {}
			} else {
				h.wait = func(ctx context.Context) { <-ctx.Done() }
			}
			conn, ended := serve(ctx, openMode(), h)
			read(t, conn, owamp.ServerGreetingSize)
			write(conn, setUp(), 1000)
			read(t, conn, owamp.ServerStartSize)
			write(conn, owamp.FetchSession{End: math.MaxUint32, SID: k.head.Spec.SID}.Append(nil), 1000)
			synctest.Wait()
			cancel(why)
			if err := <-ended; !errors.Is(err, why) {
				t.Errorf("%v, want %v", err, why)
			}
			if len(h.done) != 1 || h.done[0] == nil {
				t.Errorf("done with %v, want an error", h.done)
			}
			conn.Close()
		})
	}
}

// A client that goes while the server looks for a session is not waited for.
// One that has sent its next message already stays, and gets both answers.
func TestFetchServerAlone(t *testing.T) {
	for _, gone := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			k := randomKept(1, 1, 0, 10)
			h := &waitingFetcher{fakeFetcher: newFetcher(k.answer)}
			h.wait = func(ctx context.Context) {
				select {
				case <-ctx.Done():
				case <-time.After(31 * time.Second):
				}
			}
			cfg := openMode()
			cfg.IdleTimeout = 10 * time.Second // which is not the handler's
			conn, ended := serve(t.Context(), cfg, h)
			read(t, conn, owamp.ServerGreetingSize)
			write(conn, setUp(), 1000)
			read(t, conn, owamp.ServerStartSize)
			begin := time.Now()
			ask := owamp.FetchSession{End: math.MaxUint32, SID: k.head.Spec.SID}.Append(nil)
			write(conn, ask, 1000)
			synctest.Wait()
			if gone {
				conn.Close()
			} else {
				go write(conn, ask, 1000)
				answer := make([]byte, 2000)
				n, _ := io.ReadAtLeast(conn, answer, 2*owamp.FetchAckSize)
				if ack := (owamp.FetchAck{Finished: 1, NextSeq: 10, Records: 10}).Append(nil); !bytes.HasPrefix(answer[:n], ack) {
					t.Errorf("answer %x, want %x", answer[:n], ack)
				}
				if took := time.Since(begin); took != 31*time.Second {
					t.Errorf("answered after %v", took)
				}
				go io.Copy(io.Discard, conn)
				time.Sleep(40 * time.Second)
				conn.Close()
			}
			err := <-ended
			if took := time.Since(begin); gone && (took != 0 || !errors.Is(err, io.EOF)) {
				t.Errorf("ended after %v with %v", took, err)
			}
			want := 2
			if gone {
				want = 1
			}
			if len(h.done) != want || (h.done[0] != nil) != gone {
				t.Errorf("done with %v", h.done)
			}
		})
	}
}

// A waitingFetcher takes its time.
type waitingFetcher struct {
	*fakeFetcher
	wait func(context.Context)
}

func (h *waitingFetcher) Fetch(ctx context.Context, sid owamp.SID, begin, end uint32) control.FetchAnswer {
	h.wait(ctx)
	return h.fakeFetcher.Fetch(ctx, sid, begin, end)
}

// A lost fetch ends the sessions that were accepted on its connection.
func TestFetchServerAborts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		k := randomKept(1, 1, 0, 10_000)
		h := newFetcher(k.answer)
		octets := slices.Concat(requestOctets(toServer(5)), owamp.FetchSession{End: math.MaxUint32, SID: k.head.Spec.SID}.Append(nil))
		answer, err := probe(t, openMode(), h, octets, owamp.AcceptSessionSize+owamp.FetchAckSize)
		if !bytes.HasSuffix(answer, owamp.FetchAck{Finished: 1, NextSeq: 10_000, Records: 10_000}.Append(nil)) {
			t.Errorf("answer %x", answer)
		}
		if err == nil || !errors.Is(h.aborted, err) || len(h.done) != 1 || h.done[0] == nil {
			t.Errorf("%v, aborted with %v, done with %v; want an abort", err, h.aborted, h.done)
		}
	})
}
