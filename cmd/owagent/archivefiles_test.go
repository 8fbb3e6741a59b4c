package main

import "testing"

// TestResultOf: a document that is written for people goes to archives in one
// line.
func TestResultOf(t *testing.T) {
	r, err := resultOf([]byte("{\n\t\"id\": \"x y\",\r\n\t\"result\": { \"succeeded\": false },\n\t\"task\": {\"href\": \"https://h/t\"}\n}"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"id":"x y","result":{"succeeded":false},"task":{"href":"https://h/t"}}`; string(r.Body) != want || r.ID != "x y" || r.Succeeded || r.TaskHref != "https://h/t" {
		t.Errorf("%s, %+v", r.Body, r)
	}
	for _, text := range []string{`{}`, `[]`, `{"id": "x"}`, `{"result": 1}`} {
		if r, err := resultOf([]byte(text)); err == nil {
			t.Errorf("%s became %+v", text, r)
		}
	}
}
