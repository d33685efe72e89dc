package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

// A product is a thing that the shop sells.
type product struct {
	ID, Name, Text string
	Cents          int
}

var products = []product{
	{"teapot", "Teapot", "Brown earthenware, holds four cups and answers with 418.", 2450},
	{"lantern", "Storm lantern", "Burns through a night and half a morning.", 3900},
	{"compass", "Pocket compass", "Brass. Points north, which is not always where you want to go.", 1875},
	{"notebook", "Notebook", "Ninety-six pages, dotted, stitched so that it stays open.", 1200},
}

func productOf(id string) (product, bool) {
	for _, p := range products {
		if p.ID == id {
			return p, true
		}
	}
	return product{}, false
}

// A cart maps products to quantities. It leaves names and prices out, to keep the session
// small.
type cart map[string]int

// cartName is the key of the only value that a login keeps from a guest: see Carry in
// newShop.
const cartName = "cart"

var theCart = session.NewKey[cart](cartName)

func (c cart) count() (n int) {
	for _, quantity := range c {
		n += quantity
	}
	return n
}

const most = 20 // of one product in a cart

var errFull = errors.New("as many as a cart holds")

// with returns the cart with n more of a product; n may be negative.
func (c cart) with(id string, n int) (cart, error) {
	next := cart{}
	maps.Copy(next, c)
	switch quantity := c[id] + n; {
	case quantity > most:
		return nil, errFull
	case quantity <= 0:
		delete(next, id)
	default:
		next[id] = quantity
	}
	return next, nil
}

// change puts n more of the product in the path into the cart. It calls Update, not Get
// and Set: when two tabs add at once, Update calls the second one's function again with
// the cart that the first one wrote.
func (s *shop) change(c *gin.Context, visitor *session.Session, n int, path, done string) error {
	p, ok := productOf(c.Param("product"))
	if !ok {
		return errNotFound
	}
	_, err := theCart.Update(c.Request.Context(), visitor, func(old cart) (cart, error) { return old.with(p.ID, n) })
	if errors.Is(err, errFull) {
		return back(c, visitor, path, "note", fmt.Sprintf("A cart holds %d of one thing.", most))
	}
	if err != nil {
		return err
	}
	return back(c, visitor, path, "done", fmt.Sprintf(done, p.Name))
}

func (s *shop) add(c *gin.Context, visitor *session.Session) error {
	path := "/"
	if c.PostForm("from") == "cart" {
		path = "/cart"
	}
	return s.change(c, visitor, 1, path, "%s: added to your cart.")
}

func (s *shop) remove(c *gin.Context, visitor *session.Session) error {
	return s.change(c, visitor, -1, "/cart", "%s: one less.")
}

func (s *shop) products(c *gin.Context, visitor *session.Session) error {
	return s.show(c, visitor, http.StatusOK, "products.html", view{Title: "Things that last", Data: products})
}

// A line is a product in a cart or an order.
type line struct {
	product
	Quantity int
}

// Sum is the price of the line in cents, at today's prices.
func (l line) Sum() int { return l.Cents * l.Quantity }

// lines returns the lines of the cart, in the order of the shop, and their sum.
func (c cart) lines() (lines []line, sum int) {
	for _, p := range products {
		if n := c[p.ID]; n > 0 {
			lines = append(lines, line{p, n})
			sum += p.Cents * n
		}
	}
	return lines, sum
}

func (s *shop) cart(c *gin.Context, visitor *session.Session) error {
	content, err := theCart.Get(visitor)
	if err != nil {
		return err
	}
	lines, sum := content.lines()
	return s.show(c, visitor, http.StatusOK, "cart.html", view{Title: "Your cart", Data: order{Lines: lines, Sum: sum}})
}

func euro(cents int) string { return fmt.Sprintf("%d.%02d €", cents/100, cents%100) }
