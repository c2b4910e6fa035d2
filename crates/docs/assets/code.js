// SQL, Jinja and Python in colours, by one small reader each.

var SQL_WORDS = new Set(
  ("all alter and anti any array as asc asof at between bigint boolean by case cast char check column constraint create cross cube current " +
    "date decimal default delete desc describe distinct double drop else end escape except exclude exists extract false fetch filter first " +
    "float following for foreign from full function group grouping having if ignore ilike in index inner insert int integer intersect " +
    "interval into is join key last lateral left like limit materialized merge natural not null nulls numeric of offset on or order " +
    "outer over partition pivot preceding primary qualify range real recursive references replace respect returning right rollup row " +
    "rows select semi set sets similar smallint some string table text then time timestamp timestamptz to true truncate unbounded union " +
    "unique unnest unpivot update using values varchar view when where window with within without zone").split(" ")
);

var PYTHON_WORDS = new Set(
  ("and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None " +
    "nonlocal not or pass raise return True try while with yield").split(" ")
);

var SQL_PARTS =
  /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|\{#[\s\S]*?(?:#\}|$))|(\{\{[\s\S]*?(?:\}\}|$)|\{%[\s\S]*?(?:%\}|$))|('(?:[^']|'')*(?:'|$))|("(?:[^"]|"")*(?:"|$)|`[^`]*(?:`|$))|(\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b)|([A-Za-z_][\w$]*)|([\s\S])/gi;
var PYTHON_PARTS =
  /(#[^\n]*)|(\0)|('''[\s\S]*?(?:'''|$)|"""[\s\S]*?(?:"""|$)|'(?:[^'\\\n]|\\.)*(?:'|$)|"(?:[^"\\\n]|\\.)*(?:"|$))|(\0)|(\b\d+(?:\.\d+)?\b)|([A-Za-z_]\w*)|([\s\S])/g;
var JINJA_PARTS =
  /(\b(?:ref|source)\s*\(\s*(?:'[^']*'|"[^"]*")(?:\s*,\s*(?:'[^']*'|"[^"]*"))?[^)]*\))|('[^']*'|"[^"]*")|(\b(?:if|elif|else|endif|for|endfor|in|set|endset|macro|endmacro|do|call|endcall|filter|endfilter|snapshot|endsnapshot|test|endtest|materialization|endmaterialization|not|and|or|is)\b)|([A-Za-z_]\w*|[\s\S])/g;

function piece(kind, text) {
  return h("span", { class: "t-" + kind }, text);
}

/** A Jinja expression; `ref` and `source` lead to what they mean. */
function jinja(text, links) {
  var holder = h("span", { class: "t-jinja" });
  var rest = "";
  text.replace(JINJA_PARTS, function (all, call, string, word) {
    var target = call && links.get(call.replace(/\s/g, "").replace(/"/g, "'").replace(/,v(ersion)?=[^)]*/, ""));
    if (!target && !string && !word) {
      rest += all;
      return "";
    }
    if (rest) holder.append(rest);
    rest = "";
    if (target) holder.append(h("a", { href: addressOf(target), class: "t-ref" }, all));
    else holder.append(piece(string ? "string" : "word", all));
    return "";
  });
  if (rest) holder.append(rest);
  return holder;
}

/** How a page's template may name what it reads. */
function callsOf(page) {
  var links = new Map();
  page.reads.forEach(function (place) {
    var read = pages[place];
    if (read.type === "source") {
      var at = read.name.indexOf(".");
      links.set("source('" + read.name.slice(0, at) + "','" + read.name.slice(at + 1) + "')", read);
    } else {
      var name = read.name.replace(/\.v[^.]*$/, "");
      links.set("ref('" + name + "')", read);
      links.set("ref('" + read.package + "','" + name + "')", read);
    }
  });
  return links;
}

/** The coloured text of a source, with the numbers of its lines. */
function coloured(text, language, links) {
  var code = h("code", {});
  var parts = language === "python" ? PYTHON_PARTS : SQL_PARTS;
  var words = language === "python" ? PYTHON_WORDS : SQL_WORDS;
  var rest = "";
  function flush() {
    if (rest) code.append(rest);
    rest = "";
  }
  // Colours cost an element a word; a text of megabytes stays as it is.
  if (text.length > 300000) code.append(text);
  else
    text.replace(parts, function (all, comment, template, string, name, number, word) {
      var kind = comment ? "comment" : string ? "string" : name ? "name" : number ? "number" : "";
      if (word && words.has(language === "python" ? word : word.toLowerCase())) kind = "word";
      if (!kind && !template) rest += all;
      else {
        flush();
        code.append(template ? jinja(all, links) : piece(kind, all));
      }
      return "";
    });
  flush();
  var lines = text.split("\n").length;
  var numbers = [];
  for (var line = 1; line <= lines; line += 1) numbers.push(line);
  return h(
    "pre",
    { class: "code", tabindex: "0" },
    h("span", { class: "numbers", "aria-hidden": "true" }, numbers.join("\n")),
    code
  );
}

/** Source and compiled code with tabs and a copy button. */
function codeBlock(page) {
  var texts = [];
  if (page.raw) texts.push(["Source", page.raw]);
  if (page.compiled) texts.push(["Compiled", page.compiled]);
  if (!texts.length) return null;
  var body = h("div", { class: "code-body", role: "tabpanel", "aria-label": "Code" });
  var bar = h("div", { class: "code-bar" });
  var tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "Form of the code" });
  var place = h("span", { class: "code-copy" });
  function show(index) {
    var text = texts[index][1].replace(/\s+$/, "").replace(/^\s*\n/, "");
    [].forEach.call(tabs.children, function (tab, other) {
      tab.setAttribute("aria-selected", other === index ? "true" : "false");
      tab.tabIndex = other === index ? 0 : -1;
    });
    body.replaceChildren(coloured(text, page.language, callsOf(page)));
    place.replaceChildren(copier(text, "Copy " + texts[index][0].toLowerCase() + " code"));
  }
  texts.forEach(function (text, index) {
    tabs.append(
      h(
        "button",
        {
          type: "button",
          role: "tab",
          onclick: function () {
            show(index);
          },
          onkeydown: function (event) {
            if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
            var next = (index + (event.key === "ArrowRight" ? 1 : texts.length - 1)) % texts.length;
            show(next);
            tabs.children[next].focus();
          },
        },
        text[0]
      )
    );
  });
  bar.append(tabs, h("span", { class: "path" }, page.path || ""), place);
  show(0);
  return h("div", { class: "panel code-panel" }, bar, body);
}
