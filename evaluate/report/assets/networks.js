// The networks with attention: train/networks, for one ownship at a time. Each function takes a Network and what
// `observe` returns, and gives { action: [turn, speed change], weights: a list per head, one number per intruder }.
class Network {
  constructor({ name, parameters, view, shapes, weights }) {
    const bytes = viewOf(weights);
    this.forward = FORWARD[name];
    Object.assign(this, { parameters, view, tensors: {} });
    let start = 0;
    for (const [tensor, shape] of Object.entries(shapes)) {
      const size = shape.reduce((one, other) => one * other, 1), data = new Float32Array(size);
      for (let i = 0; i < size; i++) data[i] = bytes.getFloat32(4 * (start + i), true);
      this.tensors[tensor] = { shape, data };
      start += size;
    }
  }

  // W x + b of a head; W is (outputs, inputs), or (heads, outputs, inputs).
  dense(weight, input, bias = null, head = 0) {
    const { shape, data } = this.tensors[weight], [outputs, inputs] = shape.slice(-2), made = new Array(outputs);
    const added = bias && this.tensors[bias].data;
    for (let row = 0, place = head * outputs * inputs; row < outputs; row++) {
      let sum = added ? added[head * outputs + row] : 0;
      for (let column = 0; column < inputs; column++) sum += data[place++] * input[column];
      made[row] = sum;
    }
    return made;
  }

  layer(name, input) { return this.dense(`${name}.weight`, input, `${name}.bias`); }

  row(name, head) {
    const { shape, data } = this.tensors[name], width = shape[shape.length - 1];
    return data.subarray(head * width, (head + 1) * width);
  }

  leaky(input) { return input.map((value) => (value < 0 ? this.parameters.slope * value : value)); }

  normed(name, input) {
    const mean = total(input) / input.length, apart = input.map((value) => value - mean);
    const scale = 1 / Math.sqrt(dot(apart, apart) / input.length + 1e-5);
    const { data } = this.tensors[`${name}.weight`], bias = this.tensors[`${name}.bias`].data;
    return apart.map((value, place) => value * scale * data[place] + bias[place]);
  }

  // The layers after the attention; an action is within [-1, 1].
  act(inputs) {
    const hidden = this.leaky(this.layer("action.2", this.leaky(this.layer("action.0", inputs))));
    return this.layer("action.4", hidden).map((value) => clamp(value, -1, 1));
  }

  heads() { return [...Array(this.parameters.heads).keys()]; }
  scaled(intruders) {
    const { data } = this.tensors.gains;
    return intruders.map((each) => each.map((value, place) => value * data[place]));
  }
}

const total = (values) => values.reduce((sum, value) => sum + value, 0);
const dot = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);
const plus = (one, other) => one.map((value, place) => value + other[place]);
const sigmoid = (value) => 1 / (1 + Math.exp(-value));

function softmax(scores) {
  const most = Math.max(...scores), grown = scores.map((score) => Math.exp(score - most)), sum = total(grown);
  return grown.map((value) => value / sum);
}

// The sum of vectors, each times its weight; zeros for none.
function mix(weights, vectors, width) {
  const made = new Array(width).fill(0);
  vectors.forEach((vector, place) => { for (let i = 0; i < width; i++) made[i] += weights[place] * vector[i]; });
  return made;
}

// Heads that ask embedded pairs; `count` is added where a softmax would forget how many intruders matter.
function pairHeads(net, ownship, pairs, counts) {
  const size = net.parameters.head_size, width = net.parameters.width, context = [], numbers = [];
  const weights = net.heads().map((head) => {
    const query = net.dense("W_q", ownship, "b_q", head);
    const scores = pairs.map((pair) => dot(query, net.dense("W_k", pair, null, head)) / Math.sqrt(size));
    const shares = softmax(scores), bias = counts && net.tensors.count_bias.data[head];
    const number = counts ? total(scores.map((score) => sigmoid(score + bias))) : pairs.length ? 1 : 0;
    const value = net.dense("W_v", mix(shares, pairs, width), "b_v", head);
    context.push(...value.map((part) => part * number));
    numbers.push(number);
    return shares;
  });
  return { action: net.act([...context, ...(counts ? numbers : []), ...ownship]), weights };
}

function embedded(net, ownship, described) {
  const own = net.layer("pair_ownship", ownship);
  return described.map((each) => {
    const both = net.leaky(plus(net.dense("pair_intruder.weight", each), own));
    return net.leaky(net.layer("pair", both));
  });
}

function pairwise(net, { ownship, intruders }) {
  return pairHeads(net, ownship, embedded(net, ownship, net.scaled(intruders)), false);
}

function thresholds(net, { ownship, intruders }) {
  const { view } = net, length = view.length_m / view.protected_zone_m;
  const speed = view.speed_mps * view.lookahead_s / view.protected_zone_m;
  const { shape, data: places } = net.tensors.step_places;
  const steepness = net.tensors.step_log_steepness.data.map(Math.exp);
  const described = intruders.map((each) => {
    const place = each.slice(1, 3).map((part) => part * length), velocity = each.slice(3, 5).map((part) => part * speed);
    const facts = geometry(place, velocity), stepped = (index) => facts[Math.floor(index / shape[1])];
    const steps = Array.from(places, (c, index) => sigmoid(steepness[index] * (stepped(index) - c)));
    return [...steps, ...facts];
  });
  return pairHeads(net, ownship, embedded(net, ownship, described), true);
}

// A pair in protected zones and look-ahead times, as train/networks/thresholds.py describes it.
function geometry(d, v) {
  const length = (vector) => Math.max(Math.hypot(...vector), 1e-3);
  const speed = length(v), path = v.map((part) => part / speed), along = dot(d, path);
  const closest = d.map((part, axis) => part - along * path[axis]), miss = length(closest);
  const tcpa = clamp(-along / speed, -2, 2), urgency = 0.1 / (Math.abs(tcpa) + 0.05);
  const distances = [length(d), miss, length(plus(d, v))];
  return [...distances, along, along + speed, speed, tcpa, urgency, ...d, ...v, ...closest.map((part) => -part / miss)];
}

// Heads that weigh the intruders' features by scores(head); values(head, mean of the features) is what is seen.
function featureHeads(net, { ownship, intruders }, scores, values) {
  const width = net.tensors.W_k.shape[2], context = [];
  const weights = net.heads().map((head) => {
    const shares = softmax(scores(head)), value = values(head, mix(shares, intruders, width));
    context.push(...value.map((part) => (intruders.length ? part : 0)));
    return shares;
  });
  return { action: net.act([...context, ...ownship]), weights };
}

// v^T tanh(W_q o + b + W_k x)
const additiveScores = (net, { ownship, intruders }, biases) => (head) => {
  const query = biases.reduce((sum, bias) => plus(sum, net.row(bias, head)), net.dense("W_q", ownship, null, head));
  return intruders.map((each) => dot(plus(query, net.dense("W_k", each, null, head)).map(Math.tanh), net.row("v", head)));
};
const dotScores = (net, { ownship, intruders }) => (head) => {
  const query = net.dense("W_q", ownship, "b_q", head);
  return intruders.map((each) => dot(query, net.dense("W_k", each, null, head)) / Math.sqrt(net.parameters.head_size));
};
const seenValues = (net) => (head, mean) => net.dense("W_v", mean, "b_v", head);

// Tokens of ownship and intruders look at one another; in the last layer the ownship's alone looks, at the others.
function transformer(net, { ownship, intruders }) {
  const others = net.scaled(intruders).map((each) => net.layer("from_intruder", each));
  let tokens = [net.layer("from_ownship", ownship), ...others];
  const last = net.parameters.layers - 1;
  for (let layer = 0; layer < last; layer++) {
    const asking = tokens.map((token) => net.normed(`layers.${layer}.norm`, token));
    const seen = asking.map((token) => net.layer(`layers.${layer}.key_value`, token));
    tokens = tokens.map((token, place) => worked(net, layer, token, look(net, layer, asking[place], seen).mixed));
  }
  const asking = tokens.map((token) => net.normed(`layers.${last}.norm`, token));
  const seen = asking.slice(1).map((token) => net.layer(`layers.${last}.key_value`, token));
  const { mixed, weights } = look(net, last, asking[0], seen), token = worked(net, last, tokens[0], mixed);
  return { action: net.act([...net.normed("norm", token), ...ownship]), weights };
}

// What a token takes from others, whose keys and values are side by side.
function look(net, layer, asking, seen) {
  const { heads, head_size: size } = net.parameters, query = net.layer(`layers.${layer}.query`, asking), mixed = [];
  const weights = net.heads().map((head) => {
    const part = (vector, start) => vector.slice(start + head * size, start + (head + 1) * size);
    const shares = softmax(seen.map((each) => dot(part(query, 0), part(each, 0)) / Math.sqrt(size)));
    mixed.push(...mix(shares, seen.map((each) => part(each, heads * size)), size));
    return shares;
  });
  return { mixed, weights };
}

function worked(net, layer, token, mixed) {
  const name = `layers.${layer}`, joined = plus(token, net.layer(`${name}.join`, mixed));
  const inner = net.leaky(net.layer(`${name}.work.1`, net.normed(`${name}.work.0`, joined)));
  return plus(joined, net.layer(`${name}.work.3`, inner));
}

const FORWARD = {
  pairwise,
  thresholds,
  transformer,
  "attention-additive": (net, seen) =>
    featureHeads(net, seen, additiveScores(net, seen, ["b_q", "b_k"]), seenValues(net)),
  "attention-context": (net, seen) => featureHeads(net, seen, additiveScores(net, seen, ["b_q"]),
    (head, mean) => net.dense("W_v", [...mean, ...seen.ownship], "b_v", head)),
  "attention-dot": (net, seen) => featureHeads(net, seen, dotScores(net, seen), seenValues(net)),
};
