// Where the tables of the star schema stand.

var ROW = 24;
var HEAD = 36;

/** The tables and references of a set of relationships, as boxes to draw. */
function starTables(relationships, everything) {
  var found = new Map();
  function table(place) {
    if (!found.has(place)) found.set(place, { page: pages[place], rows: [], outs: [], ins: [] });
    return found.get(place);
  }
  relationships.forEach(function (relationship) {
    table(relationship.from).outs.push(relationship);
    table(relationship.to).ins.push(relationship);
  });
  var font = "12.5px " + uiFont();
  var bold = "600 13px " + uiFont();
  found.forEach(function (table) {
    var keys = new Map();
    function low(name) {
      return name.toLowerCase();
    }
    table.page.key.forEach(function (name) {
      keys.set(low(name), { name: name, primary: true });
    });
    function foreign(name) {
      var row = keys.get(low(name)) || { name: name };
      row.foreign = true;
      keys.set(low(name), row);
    }
    table.outs.forEach(function (relationship) {
      relationship.columns.forEach(foreign);
    });
    table.ins.forEach(function (relationship) {
      relationship.to_columns.forEach(function (name) {
        if (!keys.has(low(name))) keys.set(low(name), { name: name });
      });
    });
    // The table's own order; what it does not document comes last.
    var rows = [];
    table.page.columns.forEach(function (column) {
      var row = keys.get(low(column.name));
      if (row) keys.delete(low(column.name));
      if (!row && !everything) return;
      row = row || { name: column.name };
      row.type = column.type || "";
      rows.push(row);
    });
    keys.forEach(function (row) {
      rows.push(row);
    });
    rows.sort(function (a, b) {
      return (b.primary ? 1 : 0) - (a.primary ? 1 : 0);
    });
    table.rows = rows;
    table.title = fitting(table.page.name, 240, bold);
    var wide = width(table.title, bold) + 44;
    rows.forEach(function (row) {
      row.label = fitting(row.name, 200, font);
      row.typeLabel = fitting(row.type || "", 110, font);
      wide = Math.max(wide, 46 + width(row.label, font) + (row.typeLabel ? width(row.typeLabel, font) + 22 : 12));
    });
    table.width = Math.ceil(Math.max(150, wide));
    table.height = HEAD + rows.length * ROW + 6;
  });
  return found;
}

function rowOf(table, name) {
  var wanted = (name || "").toLowerCase();
  for (var i = 0; i < table.rows.length; i += 1) if (table.rows[i].name.toLowerCase() === wanted) return i;
  return -1;
}

/** The height, within its table, at which a reference meets it. */
function portOf(table, columns) {
  var row = rowOf(table, columns[0]);
  return row < 0 ? HEAD / 2 : HEAD + row * ROW + ROW / 2;
}

/**
 * Places one connected part: facts (which refer and are not referred to) in the middle column, what they refer to
 * on both sides, what that refers to further out.
 */
function placeStar(tables) {
  var list = Array.from(tables.values());
  var level = new Map();
  var near = new Map();
  list.forEach(function (table) {
    var others = new Set();
    table.outs.forEach(function (r) { others.add(tables.get(r.to)); });
    table.ins.forEach(function (r) { others.add(tables.get(r.from)); });
    others.delete(table);
    near.set(table, others);
  });
  function weightOf(table) {
    var targets = new Set(table.outs.map(function (r) { return r.to; }));
    var sources = new Set(table.ins.map(function (r) { return r.from; }));
    return targets.size - sources.size * 1.5;
  }
  var most = Math.max.apply(null, list.map(weightOf));
  var facts = list.filter(function (table) {
    var weight = weightOf(table);
    return weight === most || (weight >= 2 && weight >= most / 2 && !table.ins.length);
  });
  // One middle is enough where nothing stands out.
  if (most < 2) facts = facts.slice(0, 1);
  var edge = facts;
  facts.forEach(function (table) {
    level.set(table, 0);
  });
  var byParent = new Map();
  for (var depth = 1; edge.length; depth += 1) {
    var further = [];
    edge.forEach(function (table) {
      near.get(table).forEach(function (other) {
        if (level.has(other)) return;
        level.set(other, depth);
        byParent.set(other, table);
        further.push(other);
      });
    });
    edge = further;
  }

  // Sides: tables that refer to each other stay together; the lower side takes the next group.
  var side = new Map();
  var groups = [];
  var first = list.filter(function (table) { return level.get(table) === 1; });
  var grouped = new Set();
  first.forEach(function (table) {
    if (grouped.has(table)) return;
    var group = [];
    var stack = [table];
    grouped.add(table);
    while (stack.length) {
      var top = stack.pop();
      group.push(top);
      near.get(top).forEach(function (other) {
        if (level.get(other) !== 1 || grouped.has(other)) return;
        grouped.add(other);
        stack.push(other);
      });
    }
    groups.push(group);
  });
  function heightOf(group) {
    return group.reduce(function (sum, table) {
      return sum + table.height + 36 + extra(table);
    }, 0);
  }
  /** What stands behind a table on its side counts too. */
  function extra(table) {
    var sum = 0;
    byParent.forEach(function (parent, child) {
      if (parent === table) sum = Math.max(sum, child.height - table.height);
    });
    return sum;
  }
  function wantedRow(table) {
    var sum = 0;
    var many = 0;
    table.ins.forEach(function (r) {
      var from = tables.get(r.from);
      if (level.get(from) !== 0) return;
      sum += portOf(from, r.columns) + facts.indexOf(from) * 400;
      many += 1;
    });
    return many ? sum / many : Infinity;
  }
  groups.sort(function (a, b) {
    return heightOf(b) - heightOf(a);
  });
  var heights = { "-1": 0, 1: 0 };
  groups.forEach(function (group) {
    var to = heights[-1] <= heights[1] ? -1 : 1;
    group.forEach(function (table) { side.set(table, to); });
    heights[to] += heightOf(group);
  });
  byParent.forEach(function (parent, child) {
    var top = child;
    while (level.get(top) > 1) top = byParent.get(top);
    side.set(child, side.get(top));
  });

  // Columns of tables, from left to right.
  var columns = new Map();
  list.forEach(function (table) {
    var number = level.get(table) * (side.get(table) || 0);
    if (!columns.has(number)) columns.set(number, []);
    columns.get(number).push(table);
  });
  var numbers = Array.from(columns.keys()).sort(function (a, b) { return a - b; });
  var gap = 30;
  function stack(column) {
    var y = 0;
    column.forEach(function (table) {
      table.y = y;
      y += table.height + gap;
    });
    column.forEach(function (table) {
      table.y -= (y - gap) / 2;
    });
  }
  columns.get(0).sort(function (a, b) { return b.outs.length - a.outs.length; });
  numbers.forEach(function (number) {
    stack(columns.get(number));
  });
  numbers.forEach(function (number) {
    if (number === 0) return;
    columns.get(number).sort(function (a, b) { return wantedRow(a) - wantedRow(b); });
    stack(columns.get(number));
  });
  /** Where a table would like to be: so that its lines are level. */
  function wish(table, inner) {
    var sum = 0;
    var many = 0;
    function add(r, other, own, theirs) {
      if (!other || other === table || (inner && Math.abs(level.get(other)) > level.get(table))) return;
      var same = level.get(other) === level.get(table) ? 0.3 : 1;
      sum += (other.y + portOf(other, theirs) - portOf(table, own)) * same;
      many += same;
    }
    table.outs.forEach(function (r) { add(r, tables.get(r.to), r.columns, r.to_columns); });
    table.ins.forEach(function (r) { add(r, tables.get(r.from), r.to_columns, r.columns); });
    return many ? sum / many : table.y;
  }
  for (var round = 0; round < 10; round += 1) {
    var order = numbers.slice().sort(function (a, b) { return Math.abs(a) - Math.abs(b); });
    order.forEach(function (number) {
      var column = columns.get(number);
      if (number === 0 && (column.length === 1 || round < 2)) return;
      var wishes = new Map();
      column.forEach(function (table) { wishes.set(table, wish(table, true)); });
      if (round < 6) {
        column.sort(function (a, b) {
          return wishes.get(a) + a.height / 2 - wishes.get(b) - b.height / 2;
        });
      }
      var centers = column.map(function (table) { return wishes.get(table) + table.height / 2; });
      var apart = [];
      for (var i = 0; i + 1 < column.length; i += 1) apart.push((column[i].height + column[i + 1].height) / 2 + gap);
      var placed = keepApart(centers, centers.map(function () { return 1; }), apart);
      column.forEach(function (table, i) { table.y = placed[i] - table.height / 2; });
    });
  }
  // A single fact stands at the middle of what surrounds it.
  var low = Infinity;
  var high = -Infinity;
  list.forEach(function (table) {
    if (level.get(table) === 0) return;
    low = Math.min(low, table.y);
    high = Math.max(high, table.y + table.height);
  });
  if (columns.get(0).length === 1 && low < high) {
    var fact = columns.get(0)[0];
    fact.y = fact.y * 0.4 + ((low + high) / 2 - fact.height / 2) * 0.6;
  }
  var x = 0;
  numbers.forEach(function (number) {
    var column = columns.get(number);
    var wide = Math.max.apply(null, column.map(function (table) { return table.width; }));
    var lines = 0;
    column.forEach(function (table) {
      lines += table.outs.length + table.ins.length;
      // Against the middle column, so that lines are short.
      table.x = number < 0 ? x + wide - table.width : number > 0 ? x : x + (wide - table.width) / 2;
      table.level = number;
    });
    x += wide + (window.innerWidth < 620 ? 64 : 96 + Math.min(60, lines * 4));
  });
  list.forEach(function (table) {
    low = Math.min(low, table.y);
    high = Math.max(high, table.y + table.height);
  });
  list.forEach(function (table) {
    table.y -= low;
    table.fact = level.get(table) === 0 && table.outs.length > 0;
  });
  return {
    width: Math.max.apply(null, list.map(function (table) { return table.x + table.width; })),
    height: high - low,
  };
}

/** All parts, below and beside each other. */
function placeStars(tables) {
  var rest = new Set(tables.keys());
  var parts = [];
  while (rest.size) {
    var stack = [rest.values().next().value];
    rest.delete(stack[0]);
    var part = new Map();
    while (stack.length) {
      var place = stack.pop();
      var table = tables.get(place);
      part.set(place, table);
      table.outs
        .map(function (r) { return r.to; })
        .concat(table.ins.map(function (r) { return r.from; }))
        .forEach(function (other) {
          if (rest.delete(other)) stack.push(other);
        });
    }
    parts.push({ tables: part, size: placeStar(part) });
  }
  parts.sort(function (a, b) {
    return b.tables.size - a.tables.size;
  });
  var area = 0;
  var widest = 0;
  parts.forEach(function (part) {
    area += (part.size.width + 80) * (part.size.height + 80);
    widest = Math.max(widest, part.size.width);
  });
  var room = Math.max(widest, Math.sqrt(area * (window.innerWidth < 620 ? 0.6 : 1.6)));
  var x = 0;
  var y = 0;
  var shelf = 0;
  var total = { width: 0, height: 0 };
  parts.forEach(function (part) {
    if (x > 0 && x + part.size.width > room) {
      x = 0;
      y += shelf + 80;
      shelf = 0;
    }
    part.tables.forEach(function (table) {
      table.x += x;
      table.y += y;
    });
    total.width = Math.max(total.width, x + part.size.width);
    total.height = Math.max(total.height, y + part.size.height);
    shelf = Math.max(shelf, part.size.height);
    x += part.size.width + 110;
  });
  return total;
}

