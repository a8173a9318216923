# SPDX-License-Identifier: Apache-2.0
"""Train the classifier that `nybble demo` shows: handwritten digits in float, 4 and 2 bits.

Data. `sklearn.datasets.load_digits`: 1797 grey images of 8x8 pixels with values 0..16 (the test half of the UCI set
"Optical Recognition of Handwritten Digits", Alpaydin and Kaynak 1998). The split is the order of the data set: the first
1200 images train, the next 100 calibrate, the last 497 test. Neither of the last two is seen in training. The input of
the network is pixel / 16, float32 [1, 1, 8, 8] in NCHW.

Network. Five layers, 20,010 parameters:

    conv1       3x3, 1 -> 16, relu                8x8
    depthwise   3x3, 16, stride 2, relu           4x4
    pointwise   1x1, 16 -> 32, relu               4x4
    conv2       3x3, 32 -> 64, relu               4x4
    classifier  global average pool, 64 -> 10, softmax

Training. Cross entropy, Adam (Kingma and Ba 2015, Algorithm 1), a cosine schedule (Loshchilov and Hutter 2017, eq. 5) and
random shifts by one pixel. The float network starts at random (He et al. 2015, section 2.2); the low-bit networks start at
the float network and are trained on with fake-quantized weights, the gradient passing straight through the rounding
(Bengio, Leonard and Courville 2013, section 4).

Grid. A weight tensor of L levels holds scale * q with integers -L <= q <= L, one scale per output channel: L = 7 in
4 bits, 1 in 2 bits, 127 in 8 bits. In the 4-bit network every layer has 4 bits. In the 2-bit network the first and the
last layer have 8 bits and the three between them 2 (9,874 of... see `NETWORKS`). The exported float weights are exactly these
products, and |q| = L occurs in every channel, so max|w| / L, what a min-max quantizer computes, is the very scale.
Biases stay in float.
"""
