// Package demotest runs the example programs in tests, and visits their pages:
//
//	program := demotest.Start(t, run, "") // ends with the test
//	visitor := demotest.Visit(t, program.URL)
//	page := visitor.Open("/")
package demotest
