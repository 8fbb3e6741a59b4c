package main

import (
	"context"
	"log/slog"
	"sync/atomic"

	"owl/internal/cli"
	"owl/owamp/control"
)

// A passphrase is that of the user of -u. It can become another one while
// connections are made with it.
type passphrase struct {
	conn *cli.ClientOptions
	get  atomic.Pointer[func() ([]byte, error)]
}

// config returns how to talk over control connections, always with the
// pass-phrase that was read last, for the first time now.
func (p *passphrase) config(ctx context.Context, log *slog.Logger) (control.ClientConfig, error) {
	cfg, err := p.conn.Config(ctx, log)
	if first := cfg.Passphrase; first != nil {
		p.get.Store(&first)
		cfg.Passphrase = func() ([]byte, error) { return (*p.get.Load())() }
	}
	return cfg, err
}

// read reads the pass-phrase again, if it is in a file.
func (p *passphrase) read(ctx context.Context, log *slog.Logger) {
	if p.conn.KeyFile == "" || p.get.Load() == nil {
		return
	}
	cfg, err := p.conn.Config(ctx, log)
	if err != nil {
		log.Error("the pass-phrase stays what it was: " + err.Error())
		return
	}
	p.get.Store(&cfg.Passphrase)
}
