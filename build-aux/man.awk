# Make a manual page of docs/cli.md, whose Markdown is all that is known here: headings,
# paragraphs, lists, tables, blocks of code, links and words in `code`, **bold** or *italics*.
#
#   awk -v version=0.1.0 -f build-aux/man.awk docs/cli.md >dirty.1

function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text
}

# A span of Markdown, its marks included, as roff.
function span(text) {
    if (text ~ /^`/)
        return "\\fB" escape(substr(text, 2, length(text) - 2)) "\\fR"
    if (text ~ /^\*\*/)
        return "\\fB" escape(substr(text, 3, length(text) - 4)) "\\fR"
    if (text ~ /^\*/)
        return "\\fI" escape(substr(text, 2, length(text) - 2)) "\\fR"
    sub(/^\[/, "", text)
    sub(/\]\(.*\)$/, "", text)
    return inline(text)
}

function inline(text,    out, found) {
    out = ""
    while (match(text, /`[^`]+`|\*\*[^*]+\*\*|\*[^* ][^*]*\*|\[[^]]*\]\([^)]*\)/)) {
        found = substr(text, RSTART, RLENGTH)
        out = out escape(substr(text, 1, RSTART - 1))
        text = substr(text, RSTART + RLENGTH)
        out = out span(found)
    }
    return out escape(text)
}

# A line that roff must not take for a request.
function put(line) {
    if (line ~ /^[.']/)
        line = "\\&" line
    print line
}

# The paragraph or the point of a list that has been read up to here.
function flush_text(    text) {
    if (text_lines == "")
        return
    text = text_lines
    text_lines = ""
    put(inline(text))
}

function end_code() {
    if (in_code) {
        print ".fi"
        print ".RE"
    }
    in_code = 0
}

function code(line) {
    if (!in_code) {
        flush_text()
        print in_intro ? ".SH SYNOPSIS" : ".PP"
        print ".RS 4"
        print ".nf"
        in_code = 1
        in_intro = 0
    }
    put(escape(line))
}

# A row of a table: the first cell with the others as its description. What the head calls
# "default" comes last.
function row(line,    cells, count, i, body, last) {
    count = split(line, cells, /[ ]*\|[ ]*/)
    if (!in_table++) {
        for (i = 2; i < count; i++)
            head[i] = cells[i]
        print ".PP"
        put("\\fI" inline(head[2]) "\\fR:")
        return
    }
    if (line ~ /^\|[ :|-]+$/)
        return
    last = ""
    body = ""
    for (i = 3; i < count; i++)
        if (head[i] == "default" && cells[i] != "")
            last = " Default: " cells[i] "."
        else
            body = body (body == "" ? "" : "; ") cells[i]
    sub(/[^.]$/, "&.", body)
    print ".TP"
    put(inline(cells[2]))
    put(inline(body last))
}

BEGIN {
    in_intro = 1
}

/^# / {
    print ".TH DIRTY 1 \"\" \"lua\\-dirty " version "\" \"User Commands\""
    print ".SH NAME"
    next
}
/^```/ {
    if (in_fence)
        end_code()
    in_fence = !in_fence
    next
}
in_fence || /^    / {
    sub(/^    /, in_fence ? "    " : "")
    code($0)
    next
}
in_code && /^$/ {
    end_code()
    next
}
/^\|/ {
    flush_text()
    row($0)
    next
}
{
    in_table = 0
}
/^## / {
    flush_text()
    print ".SH " toupper(escape(substr($0, 4)))
    next
}
/^### / {
    flush_text()
    print ".SS " escape(substr($0, 5))
    next
}
/^$/ {
    if (text_lines != "") {
        flush_text()
    }
    after_gap = 1
    next
}
/^- / {
    flush_text()
    print ".IP \\(bu 2"
    text_lines = substr($0, 3)
    after_gap = 0
    next
}
{
    if (in_intro && !named) { # "**dirty** runs …" is the page's name and its purpose
        sub(/^\*\*dirty\*\* /, "")
        sub(/\.$/, "")
        print "dirty \\- " inline($0)
        named = 1
        next
    }
    sub(/^  /, "")
    if (text_lines == "" && after_gap)
        print ".PP"
    after_gap = 0
    text_lines = text_lines (text_lines == "" ? "" : " ") $0
}
END {
    flush_text()
    end_code()
}
