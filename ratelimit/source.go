package ratelimit

import "strconv"

// Source tells who made a [Decision].
type Source uint8

const (
	// FromNobody is the Source of the zero Decision, which comes beside an error, and of
	// a request that was not asked because another one of its [Limiter.TakeAll] was
	// denied.
	FromNobody Source = iota
	// FromRedis: Redis decided, by a script of this call's own.
	FromRedis
	// FromMerge: Redis decided this call in one script with others, which asked for the
	// same key at the same time. It is as exact as FromRedis and counts alike.
	FromMerge
	// FromQuota: the cost is above a quota of the policy, so nobody was asked.
	FromQuota
	// FromFailMode: Redis did not decide, and the policy's [FailMode] did. The reason is
	// in [Decision.Degraded].
	FromFailMode
)

// String returns a short word for logs and labels of metrics: redis, merge, quota,
// failmode, or nobody.
func (s Source) String() string {
	switch s {
	case FromNobody:
		return "nobody"
	case FromRedis:
		return "redis"
	case FromMerge:
		return "merge"
	case FromQuota:
		return "quota"
	case FromFailMode:
		return "failmode"
	}
	return "Source(" + strconv.Itoa(int(s)) + ")"
}
