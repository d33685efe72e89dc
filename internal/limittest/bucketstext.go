package limittest

import (
	"fmt"
	"strings"
)

// bucketsText returns the elements of the string in which SlidingBuckets are stored, or
// what is wrong with the string. The form is that of lua/parts/buckets.lua: indexes fall,
// nothing that is listed is empty, and the sums are right.
func bucketsText(stored string) (text []string) {
	if stored == "" {
		return nil
	}
	malformed := []string{"malformed: " + stored}
	head, tail, _ := strings.Cut(stored, ";")
	var generation, top, held, rest, oldest int64
	if n, err := fmt.Sscanf(head, "%d %d %d %d %d", &generation, &top, &held, &rest, &oldest); n != 5 || err != nil {
		return malformed
	}
	if generation > 0 {
		text = append(text, fmt.Sprintf("g=%d", generation))
	}
	if held > 0 {
		text = append(text, fmt.Sprintf("%d=%d", top, held))
	}
	sum, last := int64(0), top
	for _, part := range strings.FieldsFunc(tail, func(r rune) bool { return r == ';' }) {
		var index, permits int64
		if n, err := fmt.Sscanf(part, "%d=%d", &index, &permits); n != 2 || err != nil || permits <= 0 || index >= last {
			return malformed
		}
		sum, last = sum+permits, index
		text = append(text, part)
	}
	left := held == 0 && (generation == 0 || top+rest+oldest+sum > 0)
	if left || sum != rest || oldest != last || top-oldest > parts {
		return malformed
	}
	return text
}
