package ratelimit

import (
	"errors"
	"fmt"
	"slices"
)

// setCosts checks the costs of a request and writes them into its call. Costs that are
// all alike become one Cost, so that the call takes the usual script.
func (r *record) setCosts(req Request) error {
	p := req.Policy
	if req.Costs == nil {
		r.call.Cost = req.Cost
		return p.checkCost(req.Cost)
	}
	if err := p.checkCosts(req); err != nil {
		return err
	}
	r.call.Cost = slices.Max(req.Costs)
	if slices.Min(req.Costs) != r.call.Cost || r.call.Cost == 0 {
		r.call.Costs = slices.Clone(req.Costs)
	}
	return nil
}

// checkCost refuses costs that are out of range. A cost that is only above a quota is no
// error: it is denied.
func (p *Policy) checkCost(cost int64) error {
	if cost < 1 || cost > MaxBucketQuota {
		return fmt.Errorf("cost %d: want 1 to %d", cost, int64(MaxBucketQuota))
	}
	if cost > p.maxCost && cost <= p.minimum {
		return fmt.Errorf("cost %d: want at most %d with a SlidingLog", cost, p.maxCost)
	}
	return nil
}

// checkCosts refuses a list of costs that does not fit the policy's limits.
func (p *Policy) checkCosts(req Request) error {
	if len(req.Costs) != len(p.limits) {
		return fmt.Errorf("%d Costs: want one for each of the %d limits", len(req.Costs), len(p.limits))
	}
	if p.slots != nil {
		//lint:ignore ST1005 it begins with the name of the field
		return errors.New("Costs: want Cost for a policy with a Concurrent limit")
	}
	if req.Cost != 0 {
		return errors.New("both Cost and Costs: want one of them")
	}
	for i, cost := range req.Costs {
		least, most := int64(0), int64(MaxBucketQuota)
		if l := p.limits[i]; l.Algorithm == SlidingLog {
			if least = 1; cost <= l.Quota { // above the quota it is denied
				most = MaxLogCost
			}
		}
		if cost < least || cost > most {
			//lint:ignore ST1005 it begins with the name of the field
			return fmt.Errorf("Costs: limit %q: cost %d: want %d to %d", p.limits[i].Name, cost, least, most)
		}
	}
	return nil
}

// noCosts returns [Request.Costs] that spend nothing. They must not be changed.
func (p *Policy) noCosts() []int64 { return zeros[:len(p.limits)] }

var zeros [8]int64 // a policy has at most 8 limits

// neverPasses reports whether a cost is above its quota.
func (r *record) neverPasses() bool {
	if r.call.Costs == nil {
		return r.call.Cost > r.policy.minimum
	}
	for i, cost := range r.call.Costs {
		if cost > r.policy.limits[i].Quota {
			return true
		}
	}
	return false
}
