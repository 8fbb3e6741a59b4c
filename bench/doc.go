// Package bench holds the benchmarks of whole programs, side by side with the
// C suite's where OWAMP_REFERENCE_DIR says where those are. Benchmarks of single
// pieces stay beside their code.
package bench
