# What esmond_client makes of an archive: it registers a measurement, writes one
# point and many in bulk, and prints as JSON all that it then finds.
import json
import sys
import warnings

from esmond_client.perfsonar.post import EventTypeBulkPost, EventTypePost, MetadataPost
from esmond_client.perfsonar.query import ApiConnect, ApiFilters

warnings.simplefilter("error")  # it warns of what it does not understand

url, key, points = sys.argv[1], sys.argv[2], int(sys.argv[3])
who = dict(username="perfsonar", api_key=key)

post = MetadataPost(url, subject_type="point-to-point", source="10.10.0.1", destination="10.10.0.2",
                    tool_name="powstream", measurement_agent="10.10.0.1", input_source="a", input_destination="b",
                    time_duration=60, **who)
post.add_event_type("failures")
post.add_event_type("packet-loss-rate")
post.add_event_type("packet-count-sent")
post.add_summary_type("packet-count-sent", "aggregation", [300, 3600])
post.add_event_type("histogram-owdelay")
post.add_summary_type("histogram-owdelay", "aggregation", [300])
post.add_summary_type("histogram-owdelay", "statistics", [0, 300])
registered = post.post_metadata()

one = EventTypePost(url, metadata_key=registered.metadata_key, event_type="failures", **who)
one.add_data_point(3900, {"error": "no route"})
one.post_data()

bulk = EventTypeBulkPost(url, metadata_key=registered.metadata_key, **who)
for i in range(points):
    bulk.add_data_point("packet-count-sent", 3900 + i, 600)
    bulk.add_data_point("packet-loss-rate", 3900 + i, {"numerator": i % 4, "denominator": 600})
    bulk.add_data_point("histogram-owdelay", 3900 + i, {"34.30": 599, "34.40": 1})
bulk.post_data()

filters = ApiFilters()
filters.tool_name = "powstream"
filters.time_start = 1
found = []
for m in ApiConnect(url, filters).get_metadata():
    series = {}
    for e in m.get_all_event_types():
        series[e.event_type] = [[p.ts_epoch, p.val] for p in e.get_data().data]
        for s in e.get_all_summaries():
            series["%s %s %s" % (e.event_type, s.summary_type, s.summary_window)] = [[p.ts_epoch, p.val] for p in s.get_data().data]
    found.append({"key": m.metadata_key, "source": m.source, "time-duration": m.time_duration, "total": m.metadata_count_total, "series": series})
json.dump({"key": registered.metadata_key, "found": found}, sys.stdout)
