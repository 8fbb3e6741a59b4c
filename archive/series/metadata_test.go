package series

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The text that an identity is made of, and its sum, are esmond's.
func TestIdentityAsEsmond(t *testing.T) {
	type pair struct {
		Label    string
		Body     json.RawMessage
		Identity string `json:"identity-string"`
		Sum      string `json:"sha256"`
	}
	golden := load[[]pair](t, "identity.json")
	for _, p := range golden {
		if p.Label == "POST metadata source not IP" { // which only esmond's database refuses
			_, err := ParseMetadata(p.Body)
			if err == nil || err.Error() != "The value of source must be an IP address: host.example" {
				t.Errorf("%s: %v, want it refused", p.Label, err)
			}
			continue
		}
		m, err := ParseMetadata(p.Body)
		if err != nil {
			t.Errorf("%s: %v", p.Label, err)
			continue
		}
		if got := hex.EncodeToString(m.Identity[:]); got != p.Sum {
			t.Errorf("%s: %s, want %s: %s, want %s", p.Label, got, p.Sum, m.canonical(nil, nil), p.Identity)
		}
	}
	if len(golden) != 11 {
		t.Errorf("%d registrations, want 11", len(golden))
	}
}

// What comes back of a registration is what esmond has, and refusals have its
// text.
func TestRegistrationsAsEsmond(t *testing.T) {
	type pair struct {
		Label  string
		Body   json.RawMessage
		Status int
		Answer map[string]any
	}
	for _, p := range load[[]pair](t, "registrations.json") {
		body := p.Body
		if string(body) == `""` { // no body at all
			body = nil
		}
		m, err := ParseMetadata(body)
		if p.Status == 400 {
			if _, ok := errors.AsType[*InvalidError](err); !ok || err.Error() != p.Answer["detail"] {
				t.Errorf("%s: %v, want %v", p.Label, err, p.Answer["detail"])
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", p.Label, err)
			continue
		}
		if strings.Contains(p.Label, "different case") {
			continue // its answer is the first one's
		}
		got := map[string]any{"subject-type": m.SubjectType, "source": m.Source.String(), "destination": m.Destination.String(), "measurement-agent": m.MeasurementAgent.String(), "tool-name": m.ToolName, "input-source": m.InputSource, "input-destination": m.InputDestination}
		for name, value := range m.Parameters {
			got[name] = value
		}
		var events []any
		for _, e := range m.Events {
			summaries := []any{}
			for _, s := range e.Summaries {
				summaries = append(summaries, map[string]any{"summary-type": s.Type.String(), "summary-window": fmt.Sprint(s.Window)})
			}
			events = append(events, map[string]any{"event-type": string(e.Type), "summaries": summaries})
		}
		got["event-types"] = events
		addressed := cmpopts.IgnoreMapEntries(func(name string, _ any) bool {
			switch name {
			case "url", "uri", "base-uri", "time-updated", "metadata-key":
				return true
			}
			return false
		})
		if diff := cmp.Diff(p.Answer, got, addressed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Label, diff)
		}
	}
}

// registered is a body with members added, or replaced, and without those that
// are null.
func registered(members string) string {
	all := map[string]json.RawMessage{
		"subject-type": []byte(`"point-to-point"`), "source": []byte(`"192.0.2.1"`), "destination": []byte(`"192.0.2.2"`), "measurement-agent": []byte(`"192.0.2.1"`),
		"tool-name": []byte(`"t"`), "input-source": []byte(`"a"`), "input-destination": []byte(`"b"`), "event-types": []byte(`[]`),
	}
	var more map[string]json.RawMessage
	if err := json.Unmarshal([]byte(members), &more); err != nil {
		panic(err)
	}
	for name, value := range more {
		if all[name] = value; string(value) == `"-"` {
			delete(all, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestParseMetadata(t *testing.T) {
	m, err := ParseMetadata([]byte(registered(`{"source": "2001:DB8:0::1", "destination": "2001:db8::2", "sample_size": 1.50, "list": [1, "x", null], "tool-name": 5,
		"event-types": [{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": "3600"}, {"summary-type": "base"}]},
			{"event-type": "failures", "summaries": null, "x": 1},
			{"event-type": "throughput", "summaries": [{"summary-type": "aggregation", "summary-window": 0}, {"summary-type": "aggregation", "summary-window": 0}]}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := &Metadata{
		SubjectType: "point-to-point", Source: netip.MustParseAddr("2001:db8::1"), Destination: netip.MustParseAddr("2001:db8::2"), MeasurementAgent: netip.MustParseAddr("192.0.2.1"),
		ToolName: "5", InputSource: "a", InputDestination: "b", Parameters: map[string]string{"sample-size": "1.5", "list": "[1, 'x', None]"},
		Events: []Event{{Type: "failures"}, {Type: "throughput", Summaries: []Summary{{Aggregation, 0}, {Average, 3600}}}},
	}
	if diff := cmp.Diff(want, m, cmpopts.IgnoreFields(Metadata{}, "Identity"), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if e := m.Event("throughput"); e == nil || len(e.Summaries) != 2 {
		t.Errorf("throughput: %v", e)
	}
	if m.Event("packet-trace") != nil {
		t.Error("packet-trace is there")
	}
}

func TestParseMetadataRefuses(t *testing.T) {
	event := func(item string) string { return registered(`{"event-types": [` + item + `]}`) }
	manySummaries := make([]string, MaxSummaries+1)
	for i := range manySummaries {
		manySummaries[i] = fmt.Sprintf(`{"summary-type": "average", "summary-window": %d}`, i)
	}
	manyFields := make([]string, MaxParameters+1)
	for i := range manyFields {
		manyFields[i] = fmt.Sprintf(`"p%d": %d`, i, i)
	}
	for body, want := range map[string]string{
		``:                                       "Missing subject-type field in request",
		`[1]`:                                    "Missing subject-type field in request",
		`{x`:                                     "JSON parse error - octet 2: want a string",
		`{"a": 1} 2`:                             "JSON parse error - octet 10: want the end",
		"{\"\xff\": 1}":                          "JSON parse error - octet 2: want a string in UTF-8",
		registered(`{"source": "-"}`):            "Missing source field in request",
		registered(`{"tool-name": "-"}`):         "Missing tool-name field in request",
		registered(`{"source": null}`):           "The value of source must not be null",
		registered(`{"x": null}`):                "The value of x must not be null",
		registered(`{"source": "fe80::1%eth0"}`): "The value of source must be an IP address: fe80::1%eth0",
		registered(`{"source": "10.0.0.0/8"}`):   "The value of source must be an IP address: 10.0.0.0/8",
		registered(`{"subject-type": "network-element"}`):                                                                "destination is not allowed for subject type network-element",
		registered(`{"subject-type": "network-element", "destination": "-"}`):                                            "input-destination is not allowed for subject type network-element",
		registered(`{"uri": "x"}`):                                                                                       "uri is not allowed to be specified",
		registered(`{"tool-name": "` + strings.Repeat("x", 129) + `"}`):                                                  "The value of tool-name must have at most 128 characters, and none that is 0",
		registered(`{"` + strings.Repeat("x", 129) + `": 1}`):                                                            "Name of a field must have 1 to 128 characters: " + strings.Repeat("x", 100) + "…",
		registered(`{"": 1}`):                                                                                            "Name of a field must have 1 to 128 characters: ",
		registered(`{"x": "\u0000"}`):                                                                                    "The value of x must have at most 65536 octets, and none that is 0",
		registered(`{"x": "` + strings.Repeat("x", MaxText+1) + `"}`):                                                    "The value of x must have at most 65536 octets, and none that is 0",
		registered(`{` + strings.Join(manyFields, ",") + `}`):                                                            "More than 256 fields in request",
		registered(`{"x": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`):                                 "JSON parse error - more than 64 levels",
		registered(`{"event-types": "x"}`):                                                                               "event_types must be a list",
		event(`"throughput"`):                                                                                            "No event-type defined",
		event(`{"event-type": null}`):                                                                                    "Invalid event-type None",
		event(`{"event-type": "throughput", "summaries": {}}`):                                                           "Summaries of event-type throughput must be a list",
		event(`{"event-type": "throughput", "summaries": ["x"]}`):                                                        "Summary must contain summary-type",
		event(`{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": 1.5}]}`):         "Summary window must be an integer",
		event(`{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": null}]}`):        "Summary window must be an integer",
		event(`{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": -1}]}`):          "Summary window must be an integer from 0 to 3153600000",
		event(`{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": 99999999999}]}`): "Summary window must be an integer from 0 to 3153600000",
		event(`{"event-type": "throughput", "summaries": [` + strings.Join(manySummaries, ",") + `]}`):                   "Event-type throughput has more than 64 summaries",
		event(`{"event-type": "throughput", "summaries": [{"summary-type": "average", "summary-window": 1}, {"summary-type": "average", "summary-window": "2"}]}`): "Summary windows of throughput average must all be numbers, or all texts",
	} {
		_, err := ParseMetadata([]byte(body))
		if _, ok := errors.AsType[*InvalidError](err); !ok || err.Error() != want {
			t.Errorf("%.300s: %v, want %s", body, err, want)
		}
	}
}

// identityOf returns the identity of a registration.
func identityOf(t *testing.T, members string) [32]byte {
	t.Helper()
	m, err := ParseMetadata([]byte(registered(members)))
	if err != nil {
		t.Fatalf("%s: %v", members, err)
	}
	return m.Identity
}

// What is, and what is not, the same measurement.
func TestIdentity(t *testing.T) {
	windows := func(all ...string) string {
		var items []string
		for _, w := range all {
			items = append(items, `{"summary-type": "average", "summary-window": `+w+`}`)
		}
		return `{"event-types": [{"event-type": "throughput", "summaries": [` + strings.Join(items, ",") + `]}]}`
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`{"x": 600}`, `{"x": "600"}`, true},
		{`{"x": 30}`, `{"x": 30.0}`, false},
		{`{"x": "A"}`, `{"x": "a"}`, true},
		{`{"x": "a"}`, `{}`, false},
		{`{"source": "2001:DB8::1"}`, `{"source": "2001:db8::1"}`, true},
		{`{"source": "2001:db8::1"}`, `{"source": "2001:db8:0::1"}`, false},
		{windows("300", "1000"), windows("1000", "300"), true},
		{windows("300", "3600"), windows(`"3600"`, `"300"`), true},
		{windows("300", "1000"), windows(`"300"`, `"1000"`), false}, // as texts they are in another order
		{windows("300"), windows(`"300"`), true},
		{windows("300"), windows(), false},
	} {
		if same := identityOf(t, c.a) == identityOf(t, c.b); same != c.same {
			t.Errorf("%s and %s: the same %t, want %t", c.a, c.b, same, c.same)
		}
	}
}

// Metadata have the identity of their registration as long as that had addresses
// in their usual form, and numbers as windows.
func TestIdentify(t *testing.T) {
	for _, p := range load[[]struct{ Body json.RawMessage }](t, "identity.json") {
		m, err := ParseMetadata(p.Body)
		if err != nil || strings.Contains(string(p.Body), "0DB8") {
			continue
		}
		copied := *m
		copied.Identity = [32]byte{}
		if copied.Identify(); copied.Identity != m.Identity {
			t.Errorf("%s: %x, want %x", p.Body, copied.Identity, m.Identity)
		}
	}
}

// What is imported has no parameter that would be there twice in an answer.
func TestCheckNames(t *testing.T) {
	for _, name := range []string{"url", "metadata-key", "event-types", "source", "input-destination"} {
		m, err := ParseMetadata([]byte(registered(`{}`)))
		if err != nil {
			t.Fatal(err)
		}
		m.Parameters[name] = "x"
		if err := m.Check(); err == nil || err.Error() != name+" is not allowed to be specified" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	for _, p := range load[[]struct{ Body json.RawMessage }](f, "registrations.json") {
		f.Add([]byte(p.Body))
	}
	f.Add([]byte(registered(`{"x": {"a": [1.5, null, "\ud800"]}, "subject-type": "network-element"}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := ParseMetadata(body)
		if err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok {
				t.Fatalf("%v is no InvalidError", err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatal("taken, but no JSON")
		}
		if !m.Source.IsValid() || !m.MeasurementAgent.IsValid() || m.Destination.IsValid() != (m.SubjectType == PointToPoint) {
			t.Errorf("without an address: %v", m)
		}
		again := *m
		again.Identify()
		for i, e := range m.Events {
			if _, ok := e.Type.Kind(); !ok || i > 0 && m.Events[i-1].Type >= e.Type {
				t.Errorf("event types %v", m.Events)
			}
		}
	})
}
