package fetch_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/fetch"
)

// A server that falls silent, at whatever octet of its answer, is waited for a
// minute.
func TestSilence(t *testing.T) {
	answer := append(owamp.FetchAck{Finished: 1, Records: 1}.Append(nil), make([]byte, 96)...)
	for _, said := range []int{0, 1, owamp.FetchAckSize, len(answer)} {
		bubble.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			go func() {
				theirs.Write(owamp.ServerGreeting{Modes: owamp.ModeOpen, Count: 2048}.Append(nil))
				io.ReadFull(theirs, make([]byte, owamp.SetUpResponseSize))
				theirs.Write(owamp.ServerStart{}.Append(nil))
				io.ReadFull(theirs, make([]byte, owamp.FetchSessionSize))
				theirs.Write(answer[:said])
			}()
			c, err := control.Connect(t.Context(), ours, control.ClientConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			begin := time.Now()
			err = fetch.Whole(context.Background(), c, owamp.SID{}, &bytes.Buffer{})
			if err == nil || time.Since(begin) != time.Minute {
				t.Errorf("after %d octets: %v after %v, want an error after a minute", said, err, time.Since(begin))
			}
		})
	}
}
