package main

// A dashboard is what a file is made of.
type dashboard struct {
	file, uid, title, about string
	source                  string // the kind of its data source: prometheus, or a plugin's ID
	variables               []variable
	rows                    []row
}

// A variable is chosen at the top of a dashboard.
type variable struct {
	name, label string
	query       string // what its values are; empty: one types it
	value       string // of one that is typed, at first
	one         bool   // of its values at a time
}

// A row are panels beside each other, under a title.
type row struct {
	title  string
	panels []panel
}

// A panel shows the answers to some questions.
type panel struct {
	title, about string
	kind         string // timeseries unless it says so
	unit         string // of Grafana
	width        int    // of 24; 0: 12
	stacked      bool
	zero         bool // the axis begins there
	bad          float64
	questions    []question
}

// A question is a query with the name of its answers.
type question struct {
	query  string // PromQL, or the path and query of a URL
	legend string
	column string // of a URL's CSV
}

type object = map[string]any

const panelHeight = 8

// model returns a dashboard as Grafana's schema has it.
func (d *dashboard) model() object {
	var panels []object
	id, y := 0, 0
	for _, r := range d.rows {
		id++
		panels = append(panels, object{
			"id": id, "type": "row", "title": r.title, "collapsed": false, "panels": []any{},
			"gridPos": object{"x": 0, "y": y, "w": 24, "h": 1},
		})
		y++
		x := 0
		for _, p := range r.panels {
			w := p.width
			if w == 0 {
				w = 12
			}
			if x+w > 24 {
				x, y = 0, y+panelHeight
			}
			id++
			panels = append(panels, d.panel(&p, id, object{"x": x, "y": y, "w": w, "h": panelHeight}))
			x += w
		}
		y += panelHeight
	}
	return object{
		"uid": d.uid, "title": d.title, "description": d.about, "tags": []string{"owl", "owamp"},
		"schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1, "timezone": "browser", "refresh": "30s",
		"time":        object{"from": "now-6h", "to": "now"},
		"annotations": object{"list": []any{}},
		"templating":  object{"list": d.templating()},
		"panels":      panels,
	}
}

func (d *dashboard) datasource() object { return object{"type": d.source, "uid": "${datasource}"} }

func (d *dashboard) templating() []object {
	list := []object{{
		"name": "datasource", "label": "Data source", "type": "datasource", "query": d.source, "hide": 0,
		"current": object{}, "options": []any{}, "refresh": 1, "regex": "", "multi": false, "includeAll": false,
	}}
	for _, v := range d.variables {
		if v.query == "" {
			list = append(list, object{
				"name": v.name, "label": v.label, "type": "textbox", "query": v.value, "hide": 0,
				"current": object{"text": v.value, "value": v.value}, "options": []any{object{"text": v.value, "value": v.value, "selected": true}},
			})
			continue
		}
		o := object{
			"name": v.name, "label": v.label, "type": "query", "datasource": d.datasource(), "hide": 0,
			"definition": v.query, "query": object{"query": v.query, "refId": v.name},
			"refresh": 2, "sort": 1, "regex": "", "options": []any{}, "current": object{},
			"multi": !v.one, "includeAll": !v.one,
		}
		if !v.one {
			o["current"] = object{"text": "All", "value": "$__all"}
		}
		list = append(list, o)
	}
	return list
}

func (d *dashboard) panel(p *panel, id int, at object) object {
	kind := p.kind
	if kind == "" {
		kind = "timeseries"
	}
	var targets []object
	for i, q := range p.questions {
		t := object{"refId": string(rune('A' + i)), "datasource": d.datasource()}
		if d.source == "prometheus" {
			t["expr"], t["legendFormat"], t["range"], t["editorMode"] = q.query, q.legend, kind != "table", "code"
			if kind == "table" {
				t["instant"], t["format"] = true, "table"
			}
			if kind == "heatmap" {
				t["format"] = "heatmap"
			}
		} else {
			t["type"], t["source"], t["parser"], t["format"], t["url"] = "csv", "url", "backend", "timeseries", q.query
			t["url_options"] = object{"method": "GET"}
			t["root_selector"], t["filters"] = "", []any{}
			t["columns"] = []object{
				{"selector": "time", "text": "time", "type": "timestamp"},
				{"selector": q.column, "text": q.legend, "type": "number"},
			}
		}
		targets = append(targets, t)
	}
	defaults := object{"unit": p.unit, "custom": object{}}
	if kind == "timeseries" {
		// A line over what was not measured would hide that it was not.
		custom := object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "spanNulls": false}
		if p.stacked {
			custom["stacking"], custom["fillOpacity"] = object{"mode": "normal", "group": "A"}, 30
		}
		defaults["custom"] = custom
	}
	if p.zero {
		defaults["min"] = 0
	}
	if p.bad != 0 {
		defaults["color"] = object{"mode": "thresholds"}
		defaults["thresholds"] = object{"mode": "absolute", "steps": []object{{"color": "green", "value": nil}, {"color": "red", "value": p.bad}}}
	}
	return object{
		"id": id, "type": kind, "title": p.title, "description": p.about, "gridPos": at,
		"datasource": d.datasource(), "targets": targets, "options": options(kind),
		"fieldConfig": object{"defaults": defaults, "overrides": []any{}},
	}
}

// options returns what each kind of panel wants beside its data.
func options(kind string) object {
	switch kind {
	case "stat":
		return object{"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}, "colorMode": "value", "graphMode": "area"}
	case "heatmap":
		return object{"calculate": false, "yAxis": object{"unit": "s"}, "color": object{"scheme": "Viridis", "mode": "scheme", "steps": 64},
			"tooltip": object{"mode": "single", "yHistogram": true}, "cellGap": 0}
	case "table":
		return object{"showHeader": true, "cellHeight": "sm"}
	}
	return object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
}
