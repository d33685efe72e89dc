package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

// An order is a purchase of a user.
type order struct {
	Number int
	Lines  []line
	Sum    int // cents
}

// orders stands for the table of orders. It is safe for concurrent use.
type orders struct {
	mu     sync.Mutex // guards last and byUser
	last   int
	byUser map[string][]order
}

func (o *orders) place(user string, c cart) order {
	lines, sum := c.lines()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byUser == nil {
		o.byUser = map[string][]order{}
	}
	o.last++
	placed := order{o.last, lines, sum}
	o.byUser[user] = append(o.byUser[user], placed)
	return placed
}

// of returns the user's orders, the latest first.
func (o *orders) of(user string) []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := slices.Clone(o.byUser[user])
	slices.Reverse(list)
	return list
}

// checkout orders the products in the cart. Pop takes the cart out of the session: of two
// clicks at once only one gets it. If Redis's answer is lost, the cart is lost too, and
// nothing was ordered. A shop that must not lose carts keeps them in a table, and their
// ids in sessions.
func (s *shop) checkout(c *gin.Context, visitor *session.Session) error {
	content, ok, err := theCart.Pop(c.Request.Context(), visitor)
	if err != nil {
		return err
	}
	if !ok || content.count() == 0 {
		return back(c, visitor, "/orders", "note", "There was nothing in the cart, or it is ordered already.")
	}
	placed := s.orders.place(visitor.UserID(), content)
	return back(c, visitor, "/orders", "done", fmt.Sprintf("Thank you. Your order has the number %d.", placed.Number))
}

func (s *shop) ordersPage(c *gin.Context, visitor *session.Session) error {
	return s.show(c, visitor, http.StatusOK, "orders.html", view{Title: "Your orders", Data: s.orders.of(visitor.UserID())})
}
