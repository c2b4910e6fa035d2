// A layered layout of a directed graph, left to right: ranks, order within ranks by barycentres, then
// heights that keep lines straight. Pure: sizes and edges in, places and routes out.

/** Moves values as little as possible (in squares, by weight) so that neighbours keep their distance. */
function keepApart(wanted, weights, distances) {
  var count = wanted.length;
  var offset = new Float64Array(count);
  for (var i = 1; i < count; i += 1) offset[i] = offset[i - 1] + distances[i - 1];
  // Pool adjacent violators: blocks of the values that touch each other, at their mean.
  var starts = [];
  var means = [];
  var sums = [];
  for (i = 0; i < count; i += 1) {
    var mean = wanted[i] - offset[i];
    var sum = weights[i];
    var start = i;
    while (means.length && means[means.length - 1] >= mean) {
      var other = means.pop();
      var otherSum = sums.pop();
      mean = (mean * sum + other * otherSum) / (sum + otherSum);
      sum += otherSum;
      start = starts.pop();
    }
    starts.push(start);
    means.push(mean);
    sums.push(sum);
  }
  var result = new Float64Array(count);
  for (var block = 0; block < starts.length; block += 1) {
    var end = block + 1 < starts.length ? starts[block + 1] : count;
    for (i = starts[block]; i < end; i += 1) result[i] = means[block] + offset[i];
  }
  return result;
}

/** Longest paths from the left, then every node to where its edges are shortest. */
function rankNodes(count, outs, ins) {
  var rank = new Int32Array(count);
  var waiting = new Int32Array(count);
  var order = [];
  for (var v = 0; v < count; v += 1) {
    waiting[v] = ins[v].length;
    if (!waiting[v]) order.push(v);
  }
  for (var i = 0; i < order.length; i += 1) {
    outs[order[i]].forEach(function (to) {
      rank[to] = Math.max(rank[to], rank[order[i]] + 1);
      waiting[to] -= 1;
      if (!waiting[to]) order.push(to);
    });
  }
  for (var pass = 0; pass < 3; pass += 1) {
    for (i = order.length - 1; i >= 0; i -= 1) {
      v = order[i];
      if (outs[v].length <= ins[v].length) continue;
      var latest = Infinity;
      for (var j = 0; j < outs[v].length; j += 1) latest = Math.min(latest, rank[outs[v][j]] - 1);
      if (latest > rank[v]) rank[v] = latest;
    }
  }
  return rank;
}

/** Crossings between two neighbouring ranks, with a counting tree. */
function crossings(layer, nexts, position, size) {
  var targets = [];
  for (var i = 0; i < layer.length; i += 1) {
    var row = nexts[layer[i]].map(function (to) {
      return position[to];
    });
    row.sort(function (a, b) {
      return a - b;
    });
    for (var j = 0; j < row.length; j += 1) targets.push(row[j]);
  }
  var tree = new Int32Array(size + 1);
  var total = 0;
  for (i = targets.length - 1; i >= 0; i -= 1) {
    for (var at = targets[i]; at > 0; at -= at & -at) total += tree[at];
    for (at = targets[i] + 1; at <= size; at += at & -at) tree[at] += 1;
  }
  return total;
}

/** One connected part. `widths` and `heights` are those of its nodes; edges are pairs of its numbers. */
function layoutPart(widths, heights, edges, options) {
  var count = widths.length;
  var outs = [];
  var ins = [];
  for (var v = 0; v < count; v += 1) {
    outs.push([]);
    ins.push([]);
  }
  edges.forEach(function (edge) {
    outs[edge[0]].push(edge[1]);
    ins[edge[1]].push(edge[0]);
  });
  var rank = Array.from(rankNodes(count, outs, ins));
  var ranks = 0;
  for (v = 0; v < count; v += 1) ranks = Math.max(ranks, rank[v] + 1);

  // Long edges of one node share a chain of bends, so that they run together until they part.
  var nexts = [];
  var backs = [];
  var height = heights.slice();
  for (v = 0; v < count; v += 1) {
    nexts.push([]);
    backs.push([]);
  }
  function join(a, b) {
    nexts[a].push(b);
    backs[b].push(a);
  }
  var chains = [];
  for (v = 0; v < count; v += 1) {
    var furthest = rank[v] + 1;
    outs[v].forEach(function (to) {
      furthest = Math.max(furthest, rank[to]);
    });
    var chain = [v];
    for (var r = rank[v] + 1; r < furthest; r += 1) {
      var bend = rank.length;
      rank.push(r);
      height.push(2);
      nexts.push([]);
      backs.push([]);
      join(chain[chain.length - 1], bend);
      chain.push(bend);
    }
    chains.push(chain);
    outs[v].forEach(function (to) {
      // Edges against the order (there are none in a sound project) are drawn and order nothing.
      if (rank[to] > rank[v]) join(chain[rank[to] - rank[v] - 1], to);
    });
  }
  var total = rank.length;

  // First order: depth first, so that what belongs together starts together.
  var layers = [];
  for (r = 0; r < ranks; r += 1) layers.push([]);
  var seen = new Uint8Array(total);
  var stack = [];
  for (v = 0; v < total; v += 1) {
    if (backs[v].length || seen[v]) continue;
    stack.push(v);
    while (stack.length) {
      var top = stack.pop();
      if (seen[top]) continue;
      seen[top] = 1;
      layers[rank[top]].push(top);
      for (var k = nexts[top].length - 1; k >= 0; k -= 1) stack.push(nexts[top][k]);
    }
  }
  for (v = 0; v < total; v += 1) if (!seen[v]) layers[rank[v]].push(v);
  var position = new Int32Array(total);
  var largest = 1;
  layers.forEach(function (layer) {
    largest = Math.max(largest, layer.length);
    layer.forEach(function (node, place) {
      position[node] = place;
    });
  });

  function cost() {
    var sum = 0;
    for (var r = 0; r + 1 < ranks; r += 1) sum += crossings(layers[r], nexts, position, layers[r + 1].length + 1);
    return sum;
  }
  var weight = new Float64Array(total);
  function sweep(from, to, step, sides) {
    for (var r = from; r !== to; r += step) {
      var layer = layers[r];
      for (var i = 0; i < layer.length; i += 1) {
        var node = layer[i];
        var near = sides[node];
        var sum = 0;
        for (var j = 0; j < near.length; j += 1) sum += position[near[j]];
        weight[node] = near.length ? sum / near.length : position[node];
      }
      layer.sort(function (a, b) {
        return weight[a] - weight[b] || position[a] - position[b];
      });
      for (i = 0; i < layer.length; i += 1) position[layer[i]] = i;
    }
  }
  var best = Infinity;
  var bestLayers = null;
  function judge() {
    var now = cost();
    if (now < best) {
      best = now;
      bestLayers = layers.map(function (layer) {
        return layer.slice();
      });
      return true;
    }
    return false;
  }
  judge();
  var rounds = total > 4000 ? 4 : 10;
  var idle = 0;
  for (var round = 0; round < rounds && best > 0 && idle < 3; round += 1) {
    sweep(1, ranks, 1, backs);
    var better = judge();
    sweep(ranks - 2, -1, -1, nexts);
    better = judge() || better;
    idle = better ? 0 : idle + 1;
  }
  layers = bestLayers;
  layers.forEach(function (layer) {
    layer.forEach(function (node, place) {
      position[node] = place;
    });
  });

  // Neighbours in a rank are swapped where that alone takes crossings away.
  function pairCrossings(a, b, side) {
    var sum = 0;
    side[a].forEach(function (x) {
      side[b].forEach(function (y) {
        if (position[x] > position[y]) sum += 1;
      });
    });
    return sum;
  }
  if (total < 1500) {
    for (var pass = 0, moved = true; pass < 6 && moved; pass += 1) {
      moved = false;
      layers.forEach(function (layer) {
        for (var i = 0; i + 1 < layer.length; i += 1) {
          var a = layer[i];
          var b = layer[i + 1];
          var asIs = pairCrossings(a, b, nexts) + pairCrossings(a, b, backs);
          if (!asIs) continue;
          if (pairCrossings(b, a, nexts) + pairCrossings(b, a, backs) < asIs) {
            layer[i] = b;
            layer[i + 1] = a;
            position[b] = i;
            position[a] = i + 1;
            moved = true;
          }
        }
      });
    }
  }

  // Heights: every node to the middle of its neighbours, as far as its rank's order lets it.
  var y = new Float64Array(total);
  var distances = layers.map(function (layer) {
    var list = [];
    for (var i = 0; i + 1 < layer.length; i += 1) {
      var bends = (layer[i] >= count) + (layer[i + 1] >= count);
      list.push((height[layer[i]] + height[layer[i + 1]]) / 2 + (bends === 2 ? options.bend : bends ? options.bend + 2 : options.row));
    }
    return list;
  });
  layers.forEach(function (layer, r) {
    var sum = 0;
    layer.forEach(function (node, place) {
      if (place) sum += distances[r][place - 1];
      y[node] = sum;
    });
    layer.forEach(function (node) {
      y[node] -= sum / 2;
    });
  });
  function settle(r, sides) {
    var layer = layers[r];
    var wanted = new Float64Array(layer.length);
    var weights = new Float64Array(layer.length);
    for (var i = 0; i < layer.length; i += 1) {
      var node = layer[i];
      var sum = 0;
      var many = 0;
      for (var side = 0; side < sides.length; side += 1) {
        var near = sides[side][node];
        for (var j = 0; j < near.length; j += 1) {
          // Bends that follow each other want to be one straight line.
          var stiff = node >= count && near[j] >= count ? 8 : 1;
          sum += y[near[j]] * stiff;
          many += stiff;
        }
      }
      wanted[i] = many ? sum / many : y[node];
      weights[i] = many ? (node >= count ? 3 : 1) + many * 0.25 : 0.05;
    }
    var placed = keepApart(wanted, weights, distances[r]);
    for (i = 0; i < layer.length; i += 1) y[layer[i]] = placed[i];
  }
  for (round = 0; round < 8; round += 1) {
    for (r = 1; r < ranks; r += 1) settle(r, [backs]);
    for (r = ranks - 2; r >= 0; r -= 1) settle(r, [nexts]);
    for (r = 0; r < ranks; r += 1) settle(r, [backs, nexts]);
  }
  for (r = ranks - 1; r >= 0; r -= 1) settle(r, [backs, nexts]);
  /** What has neighbours on one side alone stands level with them where it can; the others keep their places. */
  function level(r, near, away) {
    var layer = layers[r];
    var wanted = new Float64Array(layer.length);
    var weights = new Float64Array(layer.length);
    layer.forEach(function (node, i) {
      var free = near[node].length && !away[node].length;
      var sum = 0;
      near[node].forEach(function (other) {
        sum += y[other];
      });
      wanted[i] = free ? sum / near[node].length : y[node];
      weights[i] = free ? 1 : 1e4;
    });
    var placed = keepApart(wanted, weights, distances[r]);
    layer.forEach(function (node, i) {
      y[node] = placed[i];
    });
  }
  for (r = 1; r < ranks; r += 1) level(r, backs, nexts);
  for (r = ranks - 2; r >= 0; r -= 1) level(r, nexts, backs);

  // Widths: each rank as wide as its widest node, with more room where many lines pass.
  var x = new Float64Array(ranks);
  var wide = new Float64Array(ranks);
  for (v = 0; v < count; v += 1) wide[rank[v]] = Math.max(wide[rank[v]], widths[v]);
  var low = Infinity;
  var high = -Infinity;
  for (v = 0; v < total; v += 1) {
    low = Math.min(low, y[v] - height[v] / 2);
    high = Math.max(high, y[v] + height[v] / 2);
  }
  var gaps = [];
  var natural = 0;
  for (r = 0; r < ranks; r += 1) {
    var lines = 0;
    layers[r].forEach(function (node) {
      lines += nexts[node].length;
    });
    gaps.push(options.column + Math.min(options.column * 2.5, lines * 1.2));
    natural += wide[r] + gaps[r];
  }
  // A tall drawing of many nodes gets more room between ranks, so that lines can be told apart.
  var more = Math.max(0, Math.min(options.column * 14, (1.35 * (high - low) - natural) / Math.max(1, ranks - 1)));
  var right = 0;
  for (r = 0; r < ranks; r += 1) {
    x[r] = right;
    right += wide[r] + gaps[r] + more;
  }
  var places = [];
  for (v = 0; v < count; v += 1) places.push({ x: x[rank[v]], y: y[v] - low - height[v] / 2, rank: rank[v] });
  var routes = edges.map(function (edge) {
    var from = edge[0];
    var to = edge[1];
    var route = [x[rank[from]] + widths[from], y[from] - low];
    var chain = chains[from];
    for (var step = 1; step < rank[to] - rank[from]; step += 1) {
      var bend = chain[step];
      route.push(x[rank[bend]], y[bend] - low, x[rank[bend]] + wide[rank[bend]], y[bend] - low);
    }
    route.push(x[rank[to]], y[to] - low);
    return route;
  });
  var last = ranks - 1;
  return { places: places, routes: routes, width: x[last] + wide[last], height: high - low, crossings: best };
}

/**
 * Lays out a graph: connected parts one by one, the large one first, below it the small ones side by side,
 * and what is connected to nothing in rows. A route is a list of x and y: from, pairs of bends, to.
 */
function layout(widths, heights, edges, options) {
  options = Object.assign({ row: 12, bend: 6, column: 56, part: 44, form: 1.7 }, options || {});
  var count = widths.length;
  var parent = [];
  for (var v = 0; v < count; v += 1) parent.push(v);
  function root(v) {
    while (parent[v] !== v) {
      parent[v] = parent[parent[v]];
      v = parent[v];
    }
    return v;
  }
  edges.forEach(function (edge) {
    parent[root(edge[0])] = root(edge[1]);
  });
  var parts = new Map();
  var local = new Int32Array(count);
  for (v = 0; v < count; v += 1) {
    var key = root(v);
    if (!parts.has(key)) parts.set(key, { nodes: [], edges: [], numbers: [] });
    var part = parts.get(key);
    local[v] = part.nodes.length;
    part.nodes.push(v);
  }
  edges.forEach(function (edge, number) {
    var part = parts.get(root(edge[0]));
    part.edges.push([local[edge[0]], local[edge[1]]]);
    part.numbers.push(number);
  });
  var all = Array.from(parts.values()).sort(function (a, b) {
    return b.nodes.length - a.nodes.length;
  });
  var places = new Array(count);
  var routes = new Array(edges.length);
  var total = { places: places, routes: routes, width: 0, height: 0, crossings: 0 };
  var done = all.map(function (part) {
    var of = function (list) {
      return part.nodes.map(function (node) {
        return list[node];
      });
    };
    return part.nodes.length > 1
      ? layoutPart(of(widths), of(heights), part.edges, options)
      : { places: [{ x: 0, y: 0, rank: 0 }], routes: [], width: widths[part.nodes[0]], height: heights[part.nodes[0]], crossings: 0 };
  });
  // Shelves, as wide as the widest part, or so that the whole has the form (width to height) of a screen.
  var area = 0;
  var widest = 0;
  done.forEach(function (part) {
    area += (part.width + options.part) * (part.height + options.part);
    widest = Math.max(widest, part.width);
  });
  var room = Math.max(widest, Math.sqrt(area * options.form));
  var x = 0;
  var y = 0;
  var shelf = 0;
  done.forEach(function (part, number) {
    var alone = part.places.length === 1;
    var gap = alone ? options.row * 1.5 : options.part;
    if (x > 0 && !(x + part.width <= room)) {
      x = 0;
      y += shelf;
      shelf = 0;
    }
    part.places.forEach(function (place, i) {
      places[all[number].nodes[i]] = { x: place.x + x, y: place.y + y, rank: place.rank, part: number };
    });
    part.routes.forEach(function (route, i) {
      routes[all[number].numbers[i]] = route.map(function (value, odd) {
        return value + (odd % 2 ? y : x);
      });
    });
    total.width = Math.max(total.width, x + part.width);
    total.height = Math.max(total.height, y + part.height);
    total.crossings += part.crossings;
    shelf = Math.max(shelf, part.height + gap);
    x += part.width + gap;
    // Beside a large part nothing small.
    if (number === 0 && part.places.length > 20) x = Infinity;
  });
  return total;
}

/** Calls with the parts of a route: a start, then curves and straight pieces. */
function trace(route, move, line, curve) {
  move(route[0], route[1]);
  var x = route[0];
  var y = route[1];
  for (var i = 2; i < route.length; i += 2) {
    var nx = route[i];
    var ny = route[i + 1];
    // Between ranks a curve, through a rank a straight line.
    if ((i / 2) % 2 === 1) {
      var bow = Math.max(18, (nx - x) * 0.5);
      if (nx < x) bow = 60;
      curve(x + bow, y, nx - bow, ny, nx, ny);
    } else line(nx, ny);
    x = nx;
    y = ny;
  }
}

function routePath(route) {
  var path = "";
  function r(value) {
    return Math.round(value * 10) / 10;
  }
  trace(
    route,
    function (x, y) {
      path += "M" + r(x) + " " + r(y);
    },
    function (x, y) {
      path += "L" + r(x) + " " + r(y);
    },
    function (a, b, c, d, x, y) {
      path += "C" + [a, b, c, d, x, y].map(r).join(" ");
    }
  );
  return path;
}
