package server

import "owl/sessions/policy"

// Used returns what the sessions of a class hold, those of the root if it has
// no name.
func (s *Server) Used(class string) policy.Request {
	c, ok := s.ledger.Limits().Lookup(class)
	if !ok {
		c = s.ledger.Limits().Root()
	}
	return s.ledger.Used(c)
}
