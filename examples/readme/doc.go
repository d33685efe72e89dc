// Package readme holds the examples that the README quotes line by line: one site, in
// each framework.
package readme
