package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/gatekit/gatekit/internal/redistest"
)

// browser starts a Chromium for this test. If a page complains about a script's error, or
// about something that the content security policy stops, the test fails.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const missing = "no Chromium: apt-get install chromium, or put google-chrome on PATH"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), // containers have little of it
	)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // waits until the browser has ended
	return ctx
}

// A tab is a page in a browser context of its own: like another browser, it shares no
// cookie with others.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string
}

func newTab(t *testing.T, browser context.Context, base string) tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards complaints
	var complaints []string
	complain := func(text string) { mu.Lock(); defer mu.Unlock(); complaints = append(complaints, text) }
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			complain(e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			if e.Entry.Source != log.EntrySourceNetwork { // 401 and 429 are no faults here
				complain(e.Entry.Text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if len(complaints) > 0 {
			t.Errorf("the browser complains: %s", strings.Join(complaints, "; "))
		}
	})
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return tab{t, ctx, base}
}

// read runs an action in the tab and returns its value.
func read[T any](b tab, action chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// load runs actions that lead to another page, and waits for that.
func (b tab) load(wantStatus int64, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	res, err := chromedp.RunResponse(b.ctx, actions...)
	if err != nil {
		b.t.Fatal(err)
	}
	if int64(res.Status) != wantStatus {
		b.t.Fatalf("%s: got %d, want %d; the page: %s", res.URL, res.Status, wantStatus, b.text("body"))
	}
}

func (b tab) open(path string) { b.t.Helper(); b.load(http.StatusOK, chromedp.Navigate(b.base+path)) }

func (b tab) try(wantStatus int64, name, password string) {
	b.t.Helper()
	b.load(wantStatus,
		chromedp.SetValue(chromedp.CSS("#username"), name),
		chromedp.SendKeys(chromedp.CSS("#password"), password),
		chromedp.Click(chromedp.CSS(`form[action="/login"] button`)))
}

func (b tab) text(selector chromedp.CSS) string {
	b.t.Helper()
	return read(b, chromedp.Text(selector))
}

func (b tab) wantText(selector chromedp.CSS, want string) {
	b.t.Helper()
	if got := b.text(selector); !strings.Contains(got, want) {
		b.t.Fatalf("%s: got %q, want %q in it", selector, got, want)
	}
}

func (b tab) count(selector string) int {
	b.t.Helper()
	return read(b, chromedp.Evaluate[int](`document.querySelectorAll("`+selector+`").length`))
}

// One framework is enough: TestFrameworksAnswerAlike shows that the others send the same.
func TestBrowser(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	browser, base := browser(t), site(t, "nethttp", "")
	password := visit(t, base).shownPassword("alice")
	home, library := newTab(t, browser, base), newTab(t, browser, base)
	home.open("/")
	home.try(http.StatusOK, "alice", password)
	home.wantText("h1", "Hello, alice") // so the browser takes a Secure cookie on http://127.0.0.1
	home.wantText(".flash", "Welcome")
	if readable := read(home, chromedp.Evaluate[string](`document.cookie`)); readable != "" {
		t.Error("scripts can read the cookie")
	}

	library.open("/")
	library.wantText("h1", "Log in") // contexts share no cookies
	library.try(http.StatusOK, "alice", password)
	library.open("/devices")
	library.wantText("h1", "Your devices")

	home.open("/account")
	home.load(http.StatusOK,
		chromedp.SendKeys(chromedp.CSS("#password"), password),
		chromedp.Click(chromedp.CSS(`form[action="/confirm"] button`)))
	home.wantText("h1", "Account")

	home.open("/devices")
	if n := home.count("li.card"); n != 2 {
		t.Fatalf("devices on the page: got %d, want 2", n)
	}
	home.load(http.StatusOK, chromedp.Click(chromedp.CSS(`li.card:not([aria-current]) button`)))
	home.wantText(".flash", "That device is logged out.")
	if n := home.count("li.card"); n != 1 {
		t.Errorf("devices after one was revoked: got %d, want 1", n)
	}

	library.load(http.StatusOK, chromedp.Click(chromedp.CSS("li.card button"))) // on the page that it still shows
	library.wantText("h1", "Log in")
	library.open("/devices")
	library.wantText("h1", "Log in")
	home.open("/devices")
	home.wantText("h1", "Your devices")

	home.open("/account")
	home.load(http.StatusOK, chromedp.Click(chromedp.CSS("header button")))
	home.wantText(".flash", "You are logged out.")
}

func TestBrowserCountdown(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	browser, base := browser(t), site(t, "nethttp", "")
	scripted, plain := newTab(t, browser, base), newTab(t, browser, base)
	scripted.open("/")
	for range 5 {
		scripted.try(http.StatusUnauthorized, "bob", "wrong")
	}
	scripted.try(http.StatusTooManyRequests, "bob", "wrong")
	scripted.wantText("[role=alert]", "Try again in")
	first := scripted.text(".wait")
	if !strings.HasPrefix(first, "0:") && first != "1:00" {
		t.Errorf("the countdown shows %q, want up to a minute", first)
	}
	read(scripted, chromedp.Poll[chromedp.Void](`document.querySelector(".wait").textContent !== "`+first+`"`))
	if next := scripted.text(".wait"); next >= first && first != "1:00" {
		t.Errorf("the countdown went from %q to %q", first, next)
	}

	// Without scripts: the same page, which reloads itself when the time is over.
	noScripts := emulation.SetScriptExecutionDisabledParams{Value: true}
	read(plain, func(ctx context.Context, target *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, noScripts)
	})
	plain.open("/")
	plain.try(http.StatusTooManyRequests, "bob", "wrong")
	plain.wantText("[role=alert]", "Try again in")
	if n := plain.count(`noscript meta[http-equiv=refresh]`); n != 1 {
		t.Errorf("elements that reload the page: got %d, want 1", n)
	}
	plain.try(http.StatusOK, "alice", visit(t, base).shownPassword("alice"))
	plain.wantText("h1", "Hello, alice")
	plain.load(http.StatusOK, chromedp.Click(chromedp.CSS("header button")))
	plain.wantText("h1", "Log in")
}
