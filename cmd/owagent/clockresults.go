package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"owl/archive/queue"
	"owl/internal/command"
	"owl/probe/clock"
)

// clockEvery is how often a result tells of the clock.
const clockEvery = time.Minute

// A clockDocument is a result of pScheduler's test clock. What pScheduler has no
// member for is in owl, of which sources are those of the status.
type clockDocument struct {
	ID           string        `json:"id"`
	Schedule     clockSchedule `json:"schedule"`
	Test         clockTest     `json:"test"`
	Tool         clockTool     `json:"tool"`
	Participants []string      `json:"participants"`
	Reference    *string       `json:"reference"`
	Task         clockTask     `json:"task"`
	Run          clockRun      `json:"run"`
	Result       clockResult   `json:"result"`
}

type clockSchedule struct {
	Start    time.Time `json:"start"`
	Duration string    `json:"duration"`
}

type clockTest struct {
	Type string    `json:"type"`
	Spec clockSpec `json:"spec"`
}

type clockSpec struct {
	Schema int    `json:"schema"`
	Source string `json:"source"`
}

type clockTool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type clockTask struct {
	Schema int       `json:"schema"`
	Test   clockTest `json:"test"`
	Tool   string    `json:"tool"`
	Href   string    `json:"href"`
}

type clockRun struct {
	StartTime time.Time `json:"start-time"`
	EndTime   time.Time `json:"end-time"`
	State     string    `json:"state"`
	Href      string    `json:"href"`
	TaskHref  string    `json:"task-href"`
}

type clockResult struct {
	Schema    int        `json:"schema"`
	Succeeded bool       `json:"succeeded"`
	Local     clockLocal `json:"local"`
	Owl       clockOwl   `json:"owl"`
}

type clockLocal struct {
	Time         time.Time `json:"time"`
	Synchronized bool      `json:"synchronized"`
}

type clockOwl struct {
	Schema int `json:"schema"`
	clockStatus
}

// clockResultOf returns the result that tells of a clock, at the host called so,
// what servers have said since a time; nil: nobody has said anything.
func clockResultOf(host string, known clock.State, since, now time.Time) (*queue.Result, error) {
	sources := known.Sources
	known.Sources = nil
	for _, s := range sources {
		// What was said before the last result is in that one.
		if s.Err != nil || s.Last.After(since) {
			known.Sources = append(known.Sources, s)
		}
	}
	if len(known.Sources) == 0 {
		return nil, nil
	}
	now = now.UTC().Truncate(time.Second)
	test := clockTest{Type: "clock", Spec: clockSpec{Schema: 1, Source: host}}
	task := uuid.NewSHA1(uuid.NameSpaceURL, []byte("owl clock "+host)).String()
	d := clockDocument{
		ID:           uuid.NewString(),
		Schedule:     clockSchedule{Start: now, Duration: "PT0S"},
		Test:         test,
		Tool:         clockTool{Name: program.Name, Version: command.Version},
		Participants: []string{host},
		Task:         clockTask{Schema: 1, Test: test, Tool: program.Name, Href: fmt.Sprintf("https://%s/pscheduler/tasks/%s", host, task)},
		Result: clockResult{
			Schema:    1,
			Succeeded: true,
			Local:     clockLocal{Time: now, Synchronized: known.Synchronized},
			Owl:       clockOwl{1, clockStatusOf(known)},
		},
	}
	d.Run = clockRun{StartTime: now, EndTime: now, State: "finished", Href: d.Task.Href + "/runs/" + d.ID, TaskHref: d.Task.Href}
	body, err := json.Marshal(&d)
	if err != nil {
		return nil, err
	}
	return &queue.Result{ID: d.ID, Succeeded: true, TaskHref: d.Task.Href, RunHref: d.Run.Href, Body: body}, nil
}

// tellClock makes a result a minute of what the NTP servers say that the file
// names, where results go anywhere, until ctx is done.
func (a *agent) tellClock(ctx context.Context) {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()
	told := a.clock.Now().Time()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		a.mu.Lock()
		cfg := a.cfg
		a.mu.Unlock()
		q := a.queued()
		if q == nil || cfg == nil || len(cfg.Clock.NTP) == 0 {
			continue
		}
		now := a.clock.Now().Time()
		r, err := clockResultOf(cfg.Host, a.clock.State(), told, now)
		if err == nil && r != nil {
			err = q.Put(ctx, r)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error(fmt.Sprintf("what NTP servers say is not archived: %v", err))
		}
		told = now
	}
}
