package esmond

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"owl/archive/dest/dial"
	"owl/archive/dest/esmond/mapping"
)

// keyForm is the form of keys. They become a part of URLs.
var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}$`)

// A client writes to an archive over HTTP.
type client struct {
	*http.Client
	url  string // ends with a slash
	auth string // the header Authorization; empty: none
	// write is the method that writes values: PUT, as esmond has it, or POST, as
	// it had it when one was authorized by an ApiKey.
	write string
}

func (c *client) close() { c.CloseIdleConnections() }

func (c *client) register(ctx context.Context, metadata map[string]any) (string, error) {
	status, answer, err := c.send(ctx, http.MethodPost, "", metadata)
	if err == nil {
		err = refusal(status, answer)
	}
	if err != nil {
		return "", fmt.Errorf("registering the measurement: %w", err)
	}
	var registered struct {
		Key string `json:"metadata-key"`
	}
	if err := json.Unmarshal(answer, &registered); err != nil || !keyForm.MatchString(registered.Key) {
		return "", fmt.Errorf("registering the measurement: %d: want a metadata-key in the answer %q", status, dial.Short(answer))
	}
	return registered.Key, nil
}

// bulk is a request that writes values.
type bulk struct {
	Data []point `json:"data"`
}

type point struct {
	Time   int64           `json:"ts"`
	Values []mapping.Value `json:"val"`
}

// conflict is what an archive answers that has a value already.
var conflict = regexp.MustCompile(`already exists with event type ([\w.-]+) at time`)

// put writes the values of a record. An archive that has one of them already says
// so, and then may have written those before it, and none behind it; an earlier
// try may have got no further, so those are written in a request of their own.
//
// A histogram esmond takes twice, and counts it twice in its summaries. So if the
// record was tried before, again, the last of the values that esmond does not take
// twice goes ahead: if that is there, so is all before it.
func (c *client) put(ctx context.Context, key string, r *mapping.Record, again bool) error {
	left := r.Values
	if last := lastOnce(left); again && last >= 0 {
		there, err := c.writeValues(ctx, key, r.Time, left[last:last+1])
		if err != nil {
			return err
		}
		if there == 0 {
			left = left[last+1:]
		} else {
			left = slices.Delete(slices.Clone(left), last, last+1)
		}
	}
	for len(left) > 0 {
		there, err := c.writeValues(ctx, key, r.Time, left)
		if err != nil || there < 0 {
			return err
		}
		left = left[there+1:]
	}
	return nil
}

// lastOnce returns the last of those values that an archive takes once only, if a
// histogram precedes it; -1: there is none.
func lastOnce(values []mapping.Value) int {
	for i, v := range slices.Backward(values) {
		if v.Once() && slices.ContainsFunc(values[:i], mapping.Value.IsHistogram) {
			return i
		}
	}
	return -1
}

// writeValues writes values, and returns which of them the archive has already:
// the last, if it does not say which; -1: none, it has taken them all.
func (c *client) writeValues(ctx context.Context, key string, at int64, values []mapping.Value) (there int, err error) {
	status, answer, err := c.send(ctx, c.write, key+"/", bulk{[]point{{at, values}}})
	if err == nil && status == http.StatusConflict {
		if m := conflict.FindSubmatch(answer); m != nil {
			if i := slices.IndexFunc(values, func(v mapping.Value) bool { return v.EventType == string(m[1]) }); i >= 0 {
				return i, nil
			}
		}
		return len(values) - 1, nil
	}
	if err == nil {
		err = refusal(status, answer)
	}
	if err != nil {
		return -1, fmt.Errorf("writing values: %w", err)
	}
	return -1, nil
}

// send sends a request for the resource path, which has a ? behind it as from
// pScheduler, and returns the status of the answer and its beginning.
func (c *client) send(ctx context.Context, method, path string, body any) (int, []byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+path+"?", bytes.NewReader(b))
	if err != nil {
		return 0, nil, dial.WithoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "owl")
	if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, dial.WithoutURL(err)
	}
	return resp.StatusCode, dial.Answer(resp), nil
}

// refusal returns the error that an answer is; nil: it is none. An answer that is
// not JSON is one, whatever its status, for it is not the archive's; but one
// without a body may be. The texts are those that pScheduler's archiver logs.
func refusal(status int, answer []byte) error {
	switch {
	case status/100 == 3:
		return fmt.Errorf("%d: the server redirects: want the URL that it redirects to", status)
	case status/100 == 2 && len(bytes.TrimSpace(answer)) == 0, status/100 == 2 && json.Valid(answer):
		return nil
	case !json.Valid(answer):
		return fmt.Errorf("%d: Invalid JSON returned", status)
	}
	var said struct {
		Detail any `json:"detail"`
		Error  any `json:"error"` // as esmond had it before
	}
	text := dial.Short(answer)
	if json.Unmarshal(answer, &said) == nil {
		for _, v := range []any{said.Detail, said.Error} {
			if s, ok := v.(string); ok && s != "" {
				text = dial.Short([]byte(s))
				break
			}
		}
	}
	return fmt.Errorf("%d: %s", status, text)
}
