package esmond

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"owl/archive"
	"owl/archive/dest/esmond/mapping"
	"owl/archive/series"
	"owl/archive/store"
)

// OpenStore returns the destination that is a measurement archive of this
// process, which gets what an archive far away would get: the same measurements
// and the same values. Each result is written as a whole, or not at all. The
// store stays open when the destination is closed. Names of hosts become
// addresses by find; nil: by DNS. An agent whose name has none is the end that has
// measured.
func OpenStore(s *store.Store, find Lookup) archive.Opened {
	if find == nil {
		find = net.DefaultResolver.LookupNetIP
	}
	o := opened(&own{s}, mapping.Mapper{Policy: mapping.PreferMapped}, find, nil)
	o.Destination.(*destination).turns = nil // a store loses nothing of what comes at once
	return o
}

// An own writes to an archive of this process.
type own struct{ store *store.Store }

func (o *own) close() {}

func (o *own) register(ctx context.Context, metadata map[string]any) (string, error) {
	for _, end := range []string{"source", "destination"} {
		host, named := metadata["input-"+end]
		if named && metadata[end] == nil {
			return "", fmt.Errorf("registering the measurement: the %s %.255q has no address of the other end's family", end, host)
		}
	}
	// A host that has measured need not know its own name.
	if metadata["measurement-agent"] == nil {
		end := "source"
		if metadata["mode-flip"] == true {
			end = "destination"
		}
		metadata["measurement-agent"] = metadata[end]
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		return "", archive.Final(err)
	}
	m, err := series.ParseMetadata(text)
	if err != nil {
		return "", archive.Final(fmt.Errorf("registering the measurement: %w", err))
	}
	if m, err = o.store.Register(ctx, m); err != nil {
		return "", fmt.Errorf("registering the measurement: %w", err)
	}
	return m.Key, nil
}

// put writes the values of a record. That another result of the same measurement
// and second has other values no further try would change.
func (o *own) put(ctx context.Context, key string, r *mapping.Record, _ bool) error {
	samples := make([]series.Sample, len(r.Values))
	for i, v := range r.Values {
		text, err := json.Marshal(v.Val)
		if err != nil {
			return archive.Final(err)
		}
		samples[i] = series.Sample{Time: r.Time, Event: series.EventType(v.EventType)}
		kind, ok := samples[i].Event.Kind()
		if !ok {
			return archive.Final(fmt.Errorf("writing values: %s: want an event type of an archive", v.EventType))
		}
		if samples[i].Value, err = series.Parse(kind, text); err != nil {
			return archive.Final(fmt.Errorf("writing values: %s: %w", v.EventType, err))
		}
	}
	_, err := o.store.Write(ctx, key, samples)
	if err == nil {
		return nil
	}
	if _, is := errors.AsType[*store.ConflictError](err); is {
		return archive.Final(fmt.Errorf("another result of the same measurement and second is there: %w", err))
	}
	err = fmt.Errorf("writing values: %w", err)
	if _, is := errors.AsType[*store.UnregisteredError](err); is {
		return archive.Final(err)
	}
	return err
}
