package series

import "strconv"

// A Written value is one of a request, as it is written there: not checked yet.
type Written struct {
	Time  []byte // JSON, for [ParseTime]
	Event EventType
	Value []byte // JSON, for [Parse]
}

// ParseBulk reads the body of a request that writes values of several times and
// event types,
//
//	{"data": [{"ts": T, "val": [{"event-type": E, "val": V}, …]}, …]}
//
// and calls add for each value, in their order, until that returns an error, which
// it returns. What add is given is a part of body. Other errors are
// [InvalidError]s, with esmond's text.
func ParseBulk(body []byte, add func(Written) error) error {
	data := members(body, "data")[0]
	if data == nil {
		if err := wellFormed(body); err != nil {
			return err
		}
		return invalid("Request must contain 'data' element")
	}
	i := 0
	return elements(data, "The 'data' element must be an array", func(item []byte) error {
		i++
		at := members(item, "ts", "val")
		for n, name := range []string{"ts", "val"} {
			if at[n] == nil {
				return invalid("Missing %s field in provided data list at position %d", name, i)
			}
		}
		j := 0
		return elements(at[1], "'val' field must be an array in provided data list at position "+strconv.Itoa(i), func(value []byte) error {
			j++
			of := members(value, "event-type", "val")
			for n, name := range []string{"event-type", "val"} {
				if of[n] == nil {
					return invalid("Missing %s field at data item %d in value %d ", name, i, j)
				}
			}
			event := &scanner{text: of[0]}
			if event.peek() != '"' {
				return invalid("Field event-type must be a text at data item %d in value %d", i, j)
			}
			return add(Written{at[0], EventType(event.string()), of[1]})
		})
	})
}

// ParsePoint reads the body of a request that writes one value, {"ts": T, "val":
// V}, whose event type is not in it. An error is an [InvalidError], with esmond's
// text.
func ParsePoint(body []byte) (Written, error) {
	if err := wellFormed(body); err != nil {
		return Written{}, err
	}
	w := members(body, "ts", "val")
	if w[0] == nil {
		return Written{}, invalid("Required field ts not provided in request")
	}
	if _, err := ParseTime(w[0]); err != nil {
		return Written{}, err
	}
	if w[1] == nil {
		return Written{}, invalid("Required field val not provided in request")
	}
	return Written{Time: w[0], Value: w[1]}, nil
}

// wellFormed reports what keeps raw from being JSON.
func wellFormed(raw []byte) error {
	s := &scanner{text: raw}
	s.raw()
	return s.end()
}

// elements calls do for each element of a list until it returns an error, which it
// returns. What is no list is refused with a text.
func elements(raw []byte, refusal string, do func([]byte) error) error {
	s := &scanner{text: raw}
	if s.peek() != '[' {
		return invalid("%s", refusal)
	}
	s.array(func() {
		element := s.raw()
		if s.err == nil {
			s.err = do(element)
		}
	})
	return s.err
}
