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

// Narrow leaves room for that many sessions that are recorded, and packets that
// these wait for.
func (s *Server) Narrow(sessions, entries int) { s.room = newRoom(need{sessions, entries}) }

// Room returns how much room is left.
func (s *Server) Room() (sessions, entries int) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.left.sessions, s.room.left.entries
}

// Derivations returns what a key derivation takes a place in while it runs.
func (s *Server) Derivations() chan struct{} { return s.derivations }

// OpenFiles returns how many files the process may have open.
func OpenFiles() int { return openFiles() }
