package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

const (
	maxAskers = 8        // that are answered at once
	maxAnswer = 64 << 20 // octets
)

// listenSocket listens at path, where only this user may ask. A socket that a
// killed agent has left makes room.
func listenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket: %w (--socket says where it is to be)", err)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return nil, fmt.Errorf("socket %s: another owagent answers there", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		info, err := os.Lstat(path)
		if err == nil && info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("socket %s: want a name that is free: there is a file", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// Nobody else may connect even before its mode could be changed.
	old := unix.Umask(0o177)
	ln, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket: %w (--socket says where it is to be)", err)
	}
	return ln, nil
}

// serveSocket answers those who ask at ln until ctx is done.
func (a *agent) serveSocket(ctx context.Context, ln net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		st, err := a.status(r.Context(), r.FormValue("stream"))
		if err != nil {
			answer(w, http.StatusUnprocessableEntity, []string{err.Error()})
			return
		}
		answer(w, http.StatusOK, st)
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		told, err := a.reload()
		if err == nil {
			for _, line := range told {
				a.log.Info(line)
			}
			answer(w, http.StatusOK, told)
			return
		}
		var lines []string
		for _, e := range apart(err) {
			lines = append(lines, e.Error())
		}
		answer(w, http.StatusUnprocessableEntity, lines)
	})
	mux.HandleFunc("POST /queue", a.serveQueue)
	srv := &http.Server{
		Handler:        mux,
		ReadTimeout:    5 * time.Second,
		WriteTimeout:   time.Minute,
		IdleTimeout:    5 * time.Second,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       log.New(io.Discard, "", 0), // who breaks off is not interested
	}
	context.AfterFunc(ctx, func() { srv.Close() })
	go func() {
		// Serve fails when ctx has closed the listener; there is nothing to add.
		_ = srv.Serve(netutil.LimitListener(ln, maxAskers))
	}()
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, code int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // who breaks off is not interested
}

// An absentError says that no agent answers.
type absentError struct{ socket string }

func (e *absentError) Error() string {
	return fmt.Sprintf("no owagent answers at %s: is it running, and is that its --socket?", e.socket)
}

// ask asks the agent at the socket, and returns its answer.
func ask(ctx context.Context, socket, method, path string, question io.Reader) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://owagent"+path, question)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			return 0, nil, &absentError{socket}
		}
		return 0, nil, fmt.Errorf("asking at %s: %w", socket, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, body, err
}

// refused returns what an agent says that does not do what it was asked, as its
// answer body has it.
func refused(socket string, code int, body []byte) error {
	var lines []string
	if err := json.Unmarshal(body, &lines); err != nil {
		return fmt.Errorf("the answer of %s is not owagent's: code %d, %w", socket, code, err)
	}
	if len(lines) == 0 {
		return fmt.Errorf("the answer of %s is not owagent's: code %d, and no reason", socket, code)
	}
	errs := make([]error, len(lines))
	for i, line := range lines {
		errs[i] = errors.New(line)
	}
	return errors.Join(errs...)
}

// askReload is the command reload.
func askReload(ctx context.Context, socket string, stdout io.Writer) error {
	code, body, err := ask(ctx, socket, http.MethodPost, "/reload", nil)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return errors.Join(errors.New("not reloaded, what was in force stays"), refused(socket, code, body))
	}
	var lines []string
	if err := json.Unmarshal(body, &lines); err != nil {
		return fmt.Errorf("the answer of %s is not owagent's: %w", socket, err)
	}
	_, err = io.WriteString(stdout, strings.Join(lines, "\n")+"\n")
	return err
}

// askStatus is the command status of the streams whose names match pattern.
func askStatus(ctx context.Context, socket, pattern string, asJSON bool, stdout io.Writer) error {
	where := "/status"
	if pattern != "" {
		where += "?" + url.Values{"stream": {pattern}}.Encode()
	}
	code, body, err := ask(ctx, socket, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return refused(socket, code, body)
	}
	var st status
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&st); err != nil {
		return fmt.Errorf("the answer of %s is not owagent's: %w", socket, err)
	}
	if asJSON {
		_, err := stdout.Write(body)
		return err
	}
	return st.print(stdout, pattern != "")
}
