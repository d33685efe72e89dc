//go:build race

package lua_test

// raceDetector says that everything takes several times as long.
const raceDetector = true
