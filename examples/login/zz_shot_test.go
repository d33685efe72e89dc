package main
import ("testing";"os";"github.com/chromedp/chromedp")
func shot(b tab, name string){ os.MkdirAll("/tmp/shots",0o755); if err:=os.WriteFile("/tmp/shots/"+name+".png", read(b, chromedp.FullScreenshot(100)),0o644);err!=nil{b.t.Fatal(err)} }
func TestShots(t *testing.T){
	br, base := browser(t), site(t,"")
	pw := visit(t, base).shownPassword("alice")
	other := visit(t, base); other.login("alice")
	for _, m := range []string{"wide","phone"} {
		b := newTab(t, br, base)
		w := int64(900); if m=="phone" {w=360}
		if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(w, 700)); err!=nil {t.Fatal(err)}
		b.open("/")
		if m=="phone" { b.load(200, chromedp.SetValue(chromedp.CSS("#theme"),"dark"), chromedp.Click(chromedp.CSS("footer button"))) }
		shot(b,m+"-login")
		b.try(401,"nobody"+m,"wrong"); shot(b,m+"-wrong")
		for range 4 { b.try(401,"nobody"+m,"wrong") }
		b.try(429,"nobody"+m,"wrong"); shot(b,m+"-throttled")
		b.try(200,"alice",pw); shot(b,m+"-home")
		b.open("/devices"); shot(b,m+"-devices")
		b.open("/account"); shot(b,m+"-confirm")
		b.load(401, chromedp.SendKeys(chromedp.CSS("#password"),"wrong"), chromedp.Click(chromedp.CSS(`form[action="/confirm"] button`)))
		shot(b,m+"-confirm-wrong")
		b.load(200, chromedp.SendKeys(chromedp.CSS("#password"),pw), chromedp.Click(chromedp.CSS(`form[action="/confirm"] button`)))
		b.load(200, chromedp.Click(chromedp.CSS(`form[action="/account"] button`)))
		shot(b,m+"-account")
		if m=="wide" { b.open("/devices"); b.load(200, chromedp.Click(chromedp.CSS(`form[action="/devices/revoke-others"] button`))); shot(b,m+"-revoked"); 
		b.load(200, chromedp.Click(chromedp.CSS("header button"))); shot(b,m+"-loggedout") }
	}
}
