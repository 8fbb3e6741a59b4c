package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds an answer.
	maxAnswer = 64 << 20
	// tries is how often a request is made that may do later.
	tries = 5
	// patience is how long an archive may tell to wait.
	patience = 5 * time.Minute
	// measurementsAtOnce and valuesAtOnce are how many are asked for at once.
	measurementsAtOnce = 100
	valuesAtOnce       = 1000
)

// An Archive is one that is read over HTTP.
type Archive struct {
	url    string // with a slash at its end
	client *http.Client
	until  int64 // the time of the last value that is asked for
	atOnce int   // how many values are asked for
}

// example is what an archive's URL looks like.
const example = "a URL such as https://archive.example.net/esmond/perfsonar/archive/"

// New returns the archive of a URL, which ends in /esmond/perfsonar/archive/ as a
// rule; with nothing behind the host that is added. The client makes the requests.
// Values are read up to a day after now: an archive may look through each year of a
// longer time.
func New(address string, client *http.Client, now time.Time) (*Archive, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("want " + example) // its own error has the password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%.200s: want %s", u.Redacted(), example)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/esmond/perfsonar/archive/"
	}
	return &Archive{url: strings.TrimSuffix(u.String(), "/") + "/", client: client, until: now.AddDate(0, 0, 1).Unix(), atOnce: valuesAtOnce}, nil
}

// String returns the URL, without a password.
func (a *Archive) String() string {
	u, err := url.Parse(a.url)
	if err != nil {
		return a.url
	}
	return u.Redacted()
}

// get asks for a path below that of the archive, and reads the JSON of the answer.
// It asks again, later and later, if the archive is not there or busy. Errors name the
// path; of which archive it is the caller knows.
func (a *Archive) get(ctx context.Context, path string, query url.Values, into any) error {
	wait := time.Second
	for n := 1; ; n++ {
		later, err := a.try(ctx, path, query, into)
		if err != nil && path != "" {
			err = fmt.Errorf("%s: %w", path, err)
		}
		if err == nil || later < 0 || n == tries || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(max(wait, later)):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

// try asks once. Below 0 says that there is no use in asking again, else it is when,
// at the earliest.
func (a *Archive) try(ctx context.Context, path string, query url.Values, into any) (later time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return -1, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "owl")
	resp, err := a.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the address may have a password in it
		}
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, err
	case len(body) > maxAnswer:
		return -1, fmt.Errorf("an answer of more than %d octets", maxAnswer)
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		later = time.Duration(min(max(seconds, 0), int(patience/time.Second))) * time.Second
		return later, refusal(resp.StatusCode, body)
	case resp.StatusCode != http.StatusOK:
		return -1, refusal(resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return -1, fmt.Errorf("want the JSON of a measurement archive: %w", err)
	}
	return -1, nil
}

// refusal is the error of a status, with what the archive says of it.
func refusal(status int, body []byte) error {
	var said struct{ Detail, Error string }
	_ = json.Unmarshal(body, &said) // an archive need not say anything
	text := http.StatusText(status)
	for _, s := range []string{said.Detail, said.Error} {
		if s != "" {
			text = s
			break
		}
	}
	return fmt.Errorf("%d: %.200s", status, text)
}
