package store

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commands are the commands that scripts may call. Redis 6.2 and the embedded server have
// them.
var commands = []string{
	"TIME", "DEL", "UNLINK", "PEXPIRE", "GET", "SET",
	"LINDEX", "LLEN", "LRANGE", "RPUSH", "LPOP", "LTRIM", "LREM",
	"HGET", "HGETALL", "HMGET", "HSET", "HINCRBY", "HDEL",
	"ZADD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREVRANGE", "ZSCORE", "ZREM", "ZREMRANGEBYSCORE",
	"PUBLISH",
}

// globals are the names that scripts may use without declaring them. Not among them, on
// purpose: cjson, cmsgpack, struct and bit, which the embedded server lacks; tostring,
// which keeps 14 digits; error, which would put input into replies.
var globals = []string{"redis", "KEYS", "ARGV", "math", "string", "table", "ipairs", "pairs", "tonumber", "unpack"}

// members are the library members that scripts may use. error_reply is not among them,
// because it could put input into a reply.
var members = []string{"redis.call", "redis.pcall", "string.format", "string.match", "string.gmatch", "math.abs", "math.floor", "math.ceil", "math.max", "math.min"}

var keywords = strings.Fields("and break do else elseif end false for function if in local nil not or repeat return then true until while")

var luaToken = regexp.MustCompile(`'[^'\n]*'|"[^"\n]*"|[A-Za-z_][A-Za-z0-9_]*|[0-9][0-9.]*|\.\.\.|\.\.|==|~=|<=|>=|\S`)

// tokens splits a script without comments. The strings of our scripts hold no quotes.
func tokens(text string) []string { return luaToken.FindAllString(text, -1) }

func isName(token string) bool {
	return regexp.MustCompile(`^[A-Za-z_]`).MatchString(token) && !slices.Contains(keywords, token)
}

// sourceProblems returns where a joined script breaks the rules of the package comment.
func sourceProblems(text string) []string { return readSource(text).problems }

// A source holds the facts that a test reads from a script or a fragment.
type source struct {
	problems []string
	declared map[string]bool // the names that it declares outside of all blocks
	missing  map[string]bool // the names that it uses and neither declares nor has from Redis
}

func readSource(text string) source {
	var problems []string
	missing := map[string]bool{}
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if strings.Contains(text, "#!") {
		report("a #! line")
	}
	ts := tokens(text)
	at := func(i int) string {
		if i < 0 || i >= len(ts) {
			return ""
		}
		return ts[i]
	}
	scopes := []map[string]bool{{}}
	declare := func(name string) { scopes[len(scopes)-1][name] = true }
	known := func(name string) bool {
		return slices.ContainsFunc(scopes, func(scope map[string]bool) bool { return scope[name] })
	}
	var parameters []string // of the block that opens next
	open := func() {
		scopes = append(scopes, map[string]bool{})
		for _, name := range parameters {
			declare(name)
		}
		parameters = nil
	}
	leave := func() { scopes = scopes[:max(len(scopes)-1, 1)] }
	names := func(i int) (list []string) {
		for ; ; i += 2 {
			if list = append(list, at(i)); at(i+1) != "," {
				return list
			}
		}
	}
	header := -1
	for i, token := range ts {
		switch {
		case i < header:
		case token == "local" && at(i+1) == "function":
			declare(at(i + 2))
		case token == "local":
			for _, name := range names(i + 1) {
				declare(name)
			}
		case token == "for":
			parameters = names(i + 1)
			header = i + 2*len(parameters) // where the names end
		case token == "function":
			j := i + 1
			for at(j) != "(" {
				j++
			}
			parameters = names(j + 1)
			open()
		case token == "do" || token == "then" || token == "repeat":
			open()
		case token == "else":
			leave()
			open()
		case token == "end" || token == "until" || token == "elseif":
			leave()
		case at(i-1) == "." || at(i-1) == ":":
			// a field
			if library := at(i - 2); slices.Contains([]string{"redis", "string", "math"}, library) && at(i-3) != "." {
				if member := library + "." + token; !slices.Contains(members, member) {
					report("uses %s", member)
				}
			}
		case isName(token) && at(i+1) == "=" && (at(i-1) == "{" || at(i-1) == ","):
			// the name of a field in a table, or a further target of an assignment, which
			// stands first as well
		case isName(token) && !known(token):
			if !slices.Contains(globals, token) {
				missing[token] = true
				report("%s is not declared before it is used, and no global that scripts may use", token)
			} else if at(i+1) == "=" {
				report("assigns to the global %s", token)
			}
		}
		switch token {
		case "..":
			problems = append(problems, concatProblems(ts, i)...)
		case "(":
			if at(i-1) == "call" || at(i-1) == "pcall" {
				problems = append(problems, callProblems(ts, i)...)
			}
		}
	}
	return source{problems, scopes[0], missing}
}

// concatProblems: a number that is joined to a string keeps 14 digits, a stamp has 16.
func concatProblems(ts []string, i int) []string {
	left, right := strings.Join(ts[max(i-4, 0):i], ""), strings.Join(ts[i+1:min(i+5, len(ts))], "")
	textLeft := regexp.MustCompile(`('|ARGV\[\d\]|clock\[\d\]|limit\.call|limit\.channel|kept)$`)
	textRight := regexp.MustCompile(`^('|ARGV\[\d\]|clock\[\d\]|int\(|format\(|process)`)
	if textLeft.MatchString(left) && textRight.MatchString(right) {
		return nil
	}
	return []string{fmt.Sprintf("joins what may be a number: %s .. %s", left, right)}
}

// texts are the names that hold a string, or a number below 1,000, where they are an
// argument of a command.
var texts = []string{
	"key", "limit.key", "limit.id", "name", "n", "word", "dead", "...",
	"limit.holders", "limit.meta", "limit.line", "limit.channel..process", "id", "process", "other", "kept", "place",
}

// callProblems looks at the arguments of a command.
func callProblems(ts []string, open int) (problems []string) {
	var args []string
	arg, depth := "", 0
	for i := open; ; i++ {
		switch ts[i] {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		}
		if (ts[i] == "," && depth == 1) || depth == 0 {
			args, arg = append(args, arg), ""
		} else if i > open {
			arg += ts[i]
		}
		if depth == 0 {
			break
		}
	}
	if command := strings.Trim(args[0], "'"); "'"+command+"'" != args[0] || !slices.Contains(commands, command) {
		problems = append(problems, "calls "+args[0])
	}
	text := regexp.MustCompile(`^('.*|limit\.call\.\..*|-?\d{1,3}|KEYS\[.*\]|ARGV\[.*\]|fields\[.*\]|all\[.*\]|periods:sub\(.*\)|(int|format|string\.format|ttl|buckets\.ttl|unpack)\(.*\))$`)
	for _, arg := range args[1:] {
		if !text.MatchString(arg) && !slices.Contains(texts, arg) {
			problems = append(problems, fmt.Sprintf("%s gets %s, which may be a number that Redis renders with too few digits", args[0], arg))
		}
	}
	return problems
}

func TestScriptsKeepTheRules(t *testing.T) {
	for _, s := range limitScripts() {
		for _, problem := range sourceProblems(s.text) {
			t.Errorf("%s: %s", s.name, problem)
		}
	}
}

// TestSourceRulesCatch breaks each rule once.
func TestSourceRulesCatch(t *testing.T) {
	for _, bad := range []struct{ name, text, want string }{
		{"shebang", "#!lua name=x\nreturn {1}", "#! line"},
		{"global written", "count = 1 return {count}", "count is not declared"},
		{"global named as a parameter", "local function f(x) return x end x = 1 return {f(1)}", "x is not declared"},
		{"global named as a local of a block", "if KEYS[1] then local x = 1 end return {x}", "x is not declared"},
		{"global function", "function f() return 1 end return {f()}", "f is not declared"},
		{"library replaced", "ARGV = {} return {1}", "assigns to the global ARGV"},
		{"used before its fragment", "local function f() return g() end local function g() return 1 end return {f()}", "g is not declared"},
		{"cjson", "return {cjson.encode(1)}", "cjson is not declared"},
		{"struct", "return {struct.pack(1)}", "struct is not declared"},
		{"tostring", "return {tostring(1)}", "tostring is not declared"},
		{"error reply", "return redis.error_reply(ARGV[1])", "uses redis.error_reply"},
		{"error", "error(ARGV[1])", "error is not declared"},
		{"pcall", "redis.pcall('GETEX', KEYS[1])", "calls 'GETEX'"},
		{"log", "redis.log(1, ARGV[1])", "uses redis.log"},
		{"number joined", "local now = 1 return redis.call('RPUSH', KEYS[1], now .. '')", "joins what may be a number"},
		{"number as it is", "local now = 1 return redis.call('RPUSH', KEYS[1], now)", "gets now"},
		{"sum as it is", "local l = 1 return redis.call('RPUSH', KEYS[1], l + 1)", "gets l+1"},
		{"newer command", "return redis.call('HEXPIRE', KEYS[1], '1')", "calls 'HEXPIRE'"},
		{"command from input", "return redis.call(ARGV[1], KEYS[1])", "calls ARGV[1]"},
		{"lower case", "return redis.call('get', KEYS[1])", "calls 'get'"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			problems := sourceProblems(bad.text)
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, bad.want) }) {
				t.Errorf("%s: problems %q, want one with %q", bad.name, problems, bad.want)
			}
		})
	}
}

// TestACLLineNamesTheCommands: SECURITY.md allows the commands that the scripts call, and
// no others.
func TestACLLineNamesTheCommands(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ +user gatekit on .*$`).FindString(string(text))
	called := map[string]bool{}
	for _, s := range scripts {
		for _, m := range regexp.MustCompile(`\bp?call\('(\w+)'`).FindAllStringSubmatch(s.text, -1) {
			called[m[1]] = true
		}
	}
	for _, name := range commands {
		t.Run(name, func(t *testing.T) {
			if !called[name] {
				t.Errorf("%s is in the list of commands, but in no script", name)
			}
			if !strings.Contains(line+" ", " +"+strings.ToLower(name)+" ") {
				t.Errorf("SECURITY.md does not allow %s: %q", name, line)
			}
		})
	}
	transport := []string{"PING", "HELLO", "SELECT", "CLIENT|SETNAME", "EVAL", "EVALSHA", "SCRIPT|LOAD", "HGETALL", "SUBSCRIBE"}
	for _, m := range regexp.MustCompile(`\+(\S+)`).FindAllStringSubmatch(line, -1) {
		if name := strings.ToUpper(m[1]); !called[name] && !slices.Contains(transport, name) {
			t.Errorf("SECURITY.md allows %s, which nothing calls", name)
		}
	}
}

// TestFilesAreRegistered: each script is read by a test, and each fragment is part of a
// script.
func TestFilesAreRegistered(t *testing.T) {
	names := map[string]bool{}
	for _, s := range scripts {
		names[s.name] = true
		if string(s.sha) != newSha(s.text) || string(s.src) != s.text {
			t.Errorf("%s: the words of its command are not those of its text", s.name)
		}
	}
	for _, file := range luaFiles(t, luaDir) {
		if name := strings.TrimSuffix(file, ".lua"); !names[name] {
			t.Errorf("%s is not in the list of scripts", file)
		}
		delete(names, strings.TrimSuffix(file, ".lua"))
	}
	for name := range names {
		t.Errorf("script %s has no file", name)
	}
	for _, file := range luaFiles(t, luaDir+"/parts") {
		part := code(path.Join("parts", file))
		if !slices.ContainsFunc(scripts, func(s *script) bool { return strings.Contains(s.text, part) }) {
			t.Errorf("parts/%s is joined to no script", file)
		}
		checkPart(t, file, part)
	}
}

// checkPart: a fragment decides nothing for a script that does not use it. Five of them
// do more than declare, by intent.
func checkPart(t *testing.T, file, part string) {
	if slices.Contains([]string{"now.lua", "fastpath.lua", "fastbuckets.lua", "fastcalendar.lua", "flatpath.lua"}, file) {
		return
	}
	for line := range strings.Lines(part) {
		declares := regexp.MustCompile(`^(local |function [a-z]+\.[a-z]+\(|end$|\s)`)
		if !declares.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("parts/%s does more than declare: %q", file, line)
		}
	}
}
