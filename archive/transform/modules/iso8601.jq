# Durations and times of ISO 8601, for scripts that were written for pScheduler.

def invalid_duration(value):
  error("\(value | tojson): want an ISO 8601 duration");

# duration_as_seconds("P1DT2H") is 93600.
def duration_as_seconds(value):
  def n: if . == null then 0 else (sub(","; ".") | tonumber) end;
  (value
   | if type == "string" then . else invalid_duration(value) end
   | ascii_upcase
   | capture("^P(?:(?<w>[0-9]+(?:[.,][0-9]+)?)W)?(?:(?<d>[0-9]+(?:[.,][0-9]+)?)D)?(?<t>T(?:(?<h>[0-9]+(?:[.,][0-9]+)?)H)?(?:(?<m>[0-9]+(?:[.,][0-9]+)?)M)?(?:(?<s>[0-9]+(?:[.,][0-9]+)?)S)?)?$"))
  // invalid_duration(value)
  | if .w == null and .d == null and .t == null then invalid_duration(value) else . end
  | (.w | n) * 604800 + (.d | n) * 86400 + (.h | n) * 3600 + (.m | n) * 60 + (.s | n);

# timestamp_parsed("2026-11-21T12:00:00+01:00") is an object of numbers: year,
# month, day and, as far as they are there, hour, minute, second, offset_hr and
# offset_min.
def timestamp_parsed(value):
  (value
   | if type == "string" then . else error("\(value | tojson): want an ISO 8601 time") end
   | capture("^(?<year>[0-9]{4})-?(?<month>[0-9]{2})-?(?<day>[0-9]{2})(?:[Tt ](?<hour>[0-9]{2})(?::?(?<minute>[0-9]{2})(?::?(?<second>[0-9]{2}(?:[.,][0-9]+)?))?)?(?:(?<z>[Zz])|(?<sign>[-+])(?<offset_hr>[0-9]{2})(?::?(?<offset_min>[0-9]{2}))?)?)?$"))
  // error("\(value | tojson): want an ISO 8601 time")
  | (if .sign == "-" then -1 else 1 end) as $sign
  | (if .z != null then . + {offset_hr: "0", offset_min: "0"} else . end)
  | del(.z, .sign)
  | with_entries(select(.value != null) | .value |= (sub(","; ".") | tonumber))
  | if has("offset_hr") then .offset_hr *= $sign else . end
  | if has("offset_min") then .offset_min *= $sign else . end;
