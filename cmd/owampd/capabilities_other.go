//go:build !linux

package main

// dropCapabilities does nothing: there are none.
func dropCapabilities() error { return nil }
